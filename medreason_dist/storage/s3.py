"""Objects of a bucket. The only file that knows boto3.

A request is tried three times by the client itself (its standard mode: exponential backoff with jitter). That covers
neither an answer that breaks off nor an outage: all threads of a client share a quota of 500, of which each retry after
a lost connection takes 14 (botocore 1.44), so that without a success between them the 36th is refused. Therefore an
operation is repeated as a whole, again with backoff and jitter, while its fault may pass and ``storage.retry_s`` have not.
"""

from __future__ import annotations

import io
import logging
import time
import uuid
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

import tenacity
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore import exceptions
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError
from pyarrow.fs import S3FileSystem
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

from medreason_dist.config import StorageConfig
from medreason_dist.errors import StorageError
from medreason_dist.storage.disk import disk_error
from medreason_dist.storage.requests import count_request

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

MIB: Final = 1024**2
# «classic»: the other client, which boto3 takes on some machines, tells of no requests.
TRANSFER: Final = TransferConfig(
    multipart_threshold=64 * MIB, multipart_chunksize=16 * MIB, preferred_transfer_client="classic"
)
"""How larger objects go in parts: ten at once, held in memory."""

CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 60

BATCH: Final = 1000
"""Keys that S3 deletes by one request."""

WRITER: Final = "writer"
"""Metadata of an object by which :meth:`Objects.create` knows its own."""

BROKEN_ANSWERS: Final = (
    exceptions.IncompleteReadError,
    exceptions.ResponseStreamingError,
    exceptions.FlexibleChecksumError,
    S3DownloadFailedError,
)
UNREACHABLE: Final = (exceptions.HTTPClientError, exceptions.ConnectionError)
NO_CREDENTIALS: Final = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.TokenRetrievalError,
    exceptions.SSOError,
)

PASSING_CODES: Final = {
    "RequestTimeout",
    "BadDigest",
    "IncompleteBody",
    # Some servers say so to the repeated completion of an upload whose first answer was lost.
    "NoSuchUpload",
}
FULL_CODES: Final = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
OTHER_REGION: Final = ("the bucket is in another region", "set storage.region to the bucket's")
FATAL: Final = {
    "NoSuchBucket": ("the bucket does not exist", "create it, or correct the URI"),
    "ExpiredToken": ("the credentials for S3 have expired", "sign in again, or run under a role"),
    "InvalidToken": ("S3 does not know the session token of the credentials", "sign in again, or run under a role"),
    "RequestTimeTooSkewed": ("this machine's clock is wrong, as S3 sees it", "set the clock"),
    "AuthorizationHeaderMalformed": OTHER_REGION,
    "PermanentRedirect": OTHER_REGION,
    "301": OTHER_REGION,
}
"""What is wrong and what to do next, by S3's code."""


class Connection:
    """A client, made on first use and shared by the folders that are each other's children; pickled without it."""

    def __init__(self, config: StorageConfig) -> None:
        self.config = config

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config}

    @cached_property
    def client(self) -> S3Client:
        """The client of :attr:`config`."""
        # The default session of boto3.client is not safe to share between threads and keeps its first credentials.
        client = Session().client(
            "s3",
            endpoint_url=self.config.endpoint_url,
            region_name=self.config.region,
            config=BotoConfig(
                retries={"mode": "standard", "total_max_attempts": 3},
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                # Threads beyond as many would open a connection for each request.
                max_pool_connections=64,
            ),
        )
        client.meta.events.register("before-send.s3", count_request)
        return client

    def call(self, where: str, request: Callable[[S3Client], Result]) -> Result:
        """Returns what ``request`` returns, made again while it fails for a reason that may pass.

        Raises :class:`FileNotFoundError` where there is no such object, else :class:`StorageError`.
        """
        started = time.monotonic()

        def warn(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            logger.warning("%s: %s; trying again", where, error)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=20),
            stop=tenacity.stop_before_delay(self.config.retry_s),
            before_sleep=warn,
            reraise=True,
        )
        try:
            return retrying(lambda: request(self.client))
        # Some of botocore's exceptions are OSErrors too.
        except (
            BotoCoreError,
            ClientError,
            Boto3Error,
            RetriesExceededError,
            S3DownloadFailedError,
            ValueError,
        ) as error:
            raise s3_error(error, where, time.monotonic() - started) from error
        except OSError as error:
            raise disk_error(error, f"a copy of {where}") from error


class Objects:
    """The objects of a bucket below a prefix. Its methods are those of :class:`medreason_dist.storage.Folder`."""

    def __init__(self, bucket: str, prefix: str, connection: Connection) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._connection = connection

    def child(self, name: str) -> Objects:
        return Objects(self._bucket, self._key(name), self._connection)

    def arrow_filesystem(self) -> tuple[S3FileSystem, str]:
        config = self._connection.config
        scheme, _, endpoint = (config.endpoint_url or "").rpartition("://")
        options = {"scheme": scheme, "endpoint_override": endpoint} if endpoint else {}
        if config.region:
            options["region"] = config.region
        return S3FileSystem(**options), f"{self._bucket}/{self._prefix}".rstrip("/")

    def read(self, name: str) -> bytes:
        return self._call(
            name, lambda client: client.get_object(Bucket=self._bucket, Key=self._key(name))["Body"].read()
        )

    def copy_into(self, name: str, file: IO[bytes]) -> None:
        self._call(name, lambda client: client.download_fileobj(self._bucket, self._key(name), file, Config=TRANSFER))

    def write(self, name: str, content: bytes) -> None:
        key = self._key(name)

        def put(client: S3Client) -> None:
            if len(content) < TRANSFER.multipart_threshold:
                client.put_object(Bucket=self._bucket, Key=key, Body=content, **self._encryption)
            else:
                client.upload_fileobj(io.BytesIO(content), self._bucket, key, self._encryption, Config=TRANSFER)

        self._call(name, put)

    def create(self, name: str, content: bytes) -> bool:
        writer = uuid.uuid4().hex
        key = self._key(name)

        def put(client: S3Client) -> bool:
            try:
                client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=content,
                    IfNoneMatch="*",
                    Metadata={WRITER: writer},
                    **self._encryption,
                )
            except (BotoCoreError, ClientError) as error:
                # 412 is also what a repeated PUT gets whose first answer was lost, 409 means that another is under way.
                found = self._find_writer(client, name) if is_transient(error) else None
                if found is None:
                    raise
                return found == writer
            return True

        return self._call(name, put)

    def exists(self, name: str) -> bool:
        return self._call(name, lambda client: self._find_writer(client, name)) is not None

    def names(self) -> list[str]:
        start = len(self._key(""))

        def list_all(client: S3Client) -> list[str]:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._key(""))
            return [item["Key"][start:] for page in pages for item in page.get("Contents", [])]

        # A key that ends in / is what consoles and Hadoop leave for an empty folder.
        return [name for name in self._call("", list_all) if name and not name.endswith("/")]

    def delete(self, name: str) -> None:
        self._call(name, lambda client: client.delete_object(Bucket=self._bucket, Key=self._key(name)))

    def delete_all(self, names: Iterable[str]) -> None:
        keys = [self._key(name) for name in names]
        for start in range(0, len(keys), BATCH):
            self._delete_batch(keys[start : start + BATCH])

    def _delete_batch(self, keys: list[str]) -> None:
        def delete(client: S3Client) -> None:
            answer = client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
            for fault in answer.get("Errors", []):
                status = 403 if fault.get("Code") == "AccessDenied" else 500
                response: Any = {"Error": fault, "ResponseMetadata": {"HTTPStatusCode": status}}
                raise ClientError(response, "DeleteObjects")

        self._call("", delete)

    def _find_writer(self, client: S3Client, name: str) -> str | None:
        """Returns what ``create`` noted with an object, "" where it did not; None where there is no object."""
        try:
            head = client.head_object(Bucket=self._bucket, Key=self._key(name))
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise
        return head["Metadata"].get(WRITER, "")

    @property
    def _encryption(self) -> dict[str, Any]:
        config = self._connection.config
        given = {"ServerSideEncryption": config.sse, "SSEKMSKeyId": config.sse_kms_key_id}
        return {key: value for key, value in given.items() if value is not None}

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _call(self, name: str, request: Callable[[S3Client], Result]) -> Result:
        return self._connection.call(f"s3://{self._bucket}/{self._key(name)}".rstrip("/"), request)


def is_transient(error: BaseException) -> bool:
    """Returns whether what failed may succeed later."""
    if not isinstance(error, ClientError):
        return isinstance(error, (*UNREACHABLE, *BROKEN_ANSWERS, RetriesExceededError))
    status = _status(error)
    return not _is_full(error) and (
        status in (408, 409, 412, 429) or (status >= 500 and status != 501) or _code(error) in PASSING_CODES
    )


def s3_error(error: BaseException, where: str, elapsed_s: float) -> Exception:
    """Returns what to raise for an error of boto3 with which an operation ended after ``elapsed_s``."""
    if isinstance(error, RetriesExceededError):
        error = error.last_exception
    text = " ".join(str(error).split())
    tried = f"for {elapsed_s:.0f} s, retries included: {text}"
    if isinstance(error, ClientError):
        return _answered_error(error, where, tried)
    if isinstance(error, NO_CREDENTIALS):
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, sign in, or run under a role"
        return StorageError(f"there are no credentials for S3: {text}", where, remedy)
    if isinstance(error, BROKEN_ANSWERS):
        return StorageError(
            f"S3's answers broke off {tried}", where, "check the network, then run the same command again"
        )
    if isinstance(error, UNREACHABLE):
        remedy = "check storage.endpoint_url, region and network, then run the same command again"
        return StorageError(f"S3 cannot be reached, tried {tried}", where, remedy)
    if isinstance(error, exceptions.ParamValidationError):
        return StorageError(f"S3 has no such names: {text}", where, "correct the URI")
    remedy = "check storage.endpoint_url, storage.region and the AWS environment"
    return StorageError(f"S3 cannot be reached: {text}", where, remedy)


def _answered_error(error: ClientError, where: str, tried: str) -> Exception:
    code, status = _code(error), _status(error)
    message = error.response.get("Error", {}).get("Message", "")
    # A HEAD has no body to say which key.
    if code in ("NoSuchKey", "404"):
        return FileNotFoundError(where)
    if code in FATAL:
        what, remedy = FATAL[code]
    elif _is_full(error):
        what, remedy = f"the S3 server has no space left ({code})", "free space or raise the quota, then run it again"
    elif code.startswith("KMS."):
        what, remedy = f"S3 cannot use the KMS key ({code}): {message}", "check storage.sse_kms_key_id and its policy"
    elif status in (401, 403):
        what = f"S3 denies access ({code}): {message}"
        remedy = (
            "check the credentials and their policy: s3:GetObject, PutObject, DeleteObject, AbortMultipartUpload and "
            "ListBucket are needed"
        )
    elif is_transient(error):
        what = f"S3 failed {tried}"
        remedy = "wait until it works again, or see its log (no space left?), then run the same command again"
    else:
        what = f"S3 answers {code or status}: {message}"
        remedy = "check that it is an S3 server; for one that refuses checksums set AWS_REQUEST_CHECKSUM_CALCULATION"
    return StorageError(what, where, remedy)


def _is_full(error: ClientError) -> bool:
    return _status(error) == 507 or _code(error) in FULL_CODES or "o writable volumes" in str(error)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
