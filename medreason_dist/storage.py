"""Folders on a disk or under ``s3://``, behind one class. The only room that imports boto3.

Writes are atomic: a reader sees the whole file or none. ``create`` has exactly one winner. A folder is finished once
its ``_manifest.json`` is there, which is why that is written last.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from medreason_dist.config import StorageConfig
from medreason_dist.errors import StorageError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MANIFEST = "_manifest.json"

BEAT_S = 5.0
"""Seconds between two signs of life of a lease's holder; one that gives none for four times as long is dead."""


class Folder:
    """A folder at ``uri``: a path, or ``s3://bucket/prefix``. Names are relative, with ``/`` between their parts.

    Every method raises :class:`StorageError` where the place cannot be reached, read or written. Instances may be
    pickled; the S3 client is made on first use.
    """

    def __init__(self, uri: str, config: StorageConfig | None = None) -> None:
        scheme, separator, rest = uri.partition("://") if "://" in uri else ("", "", uri)
        rest = rest.rstrip("/") or rest
        self.uri = f"{scheme}{separator}{rest}"
        self._config = config or StorageConfig()
        if separator and scheme not in ("s3", "file"):
            raise StorageError(f"'{scheme}://' is not supported", uri, "give a folder or s3://bucket/prefix")
        self.is_s3 = scheme == "s3"
        self._path = Path(rest)
        self._bucket, _, self._prefix = rest.partition("/") if self.is_s3 else ("", "", "")
        if self.is_s3 and not self._bucket:
            raise StorageError("the URI names no bucket", uri, "give s3://bucket/prefix")

    def __repr__(self) -> str:
        return f"Folder({self.uri!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_client"}

    def child(self, name: str) -> Folder:
        """Returns the folder ``name`` in this one."""
        return Folder(f"{self.uri}/{name}", self._config)

    @property
    def path(self) -> Path:
        """The folder on this machine's disk; raises :class:`StorageError` for ``s3://``."""
        if self.is_s3:
            raise StorageError("a folder on this machine is needed here", self.uri, "give a path without s3://")
        return self._path

    # Bytes

    def read(self, name: str) -> bytes:
        """Returns a file's content; raises :class:`FileNotFoundError` where there is none."""
        with self._errors(name):
            if not self.is_s3:
                return (self._path / name).read_bytes()
            return self._client.get_object(Bucket=self._bucket, Key=self._key(name))["Body"].read()

    def copy_into(self, name: str, file: IO[bytes]) -> None:
        """Writes a file's content into an open one, part by part; :class:`FileNotFoundError` where there is none."""
        with self._errors(name):
            if self.is_s3:
                self._client.download_fileobj(self._bucket, self._key(name), file)
                return
            with (self._path / name).open("rb") as source:
                shutil.copyfileobj(source, file)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file whole, replacing what was there."""
        with self._errors(name):
            if self.is_s3:
                self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=content)
                return
            with self._temporary(name, content) as temporary:
                temporary.replace(self._path / name)

    def create(self, name: str, content: bytes) -> bool:
        """Writes a file whole unless it exists; returns whether this call wrote it. Of several callers one wins."""
        with self._errors(name):
            if self.is_s3:
                return self._create_object(name, content)
            with self._temporary(name, content) as temporary:
                try:
                    os.link(temporary, self._path / name)
                except FileExistsError:
                    return False
                return True

    def exists(self, name: str) -> bool:
        """Returns whether a file is there."""
        with self._errors(name):
            if not self.is_s3:
                return (self._path / name).is_file()
            try:
                self._client.head_object(Bucket=self._bucket, Key=self._key(name))
            except self._client.exceptions.ClientError as error:
                if _status(error) == 404:
                    return False
                raise
            return True

    def names(self, suffix: str = "") -> list[str]:
        """Returns, sorted, the names of all files below this folder that end in ``suffix``."""
        with self._errors(""):
            if not self.is_s3:
                found = (p.relative_to(self._path) for p in self._path.rglob("*") if p.is_file())
                names = [p.as_posix() for p in found if not any(part.startswith(".") for part in p.parts)]
            else:
                pages = self._client.get_paginator("list_objects_v2").paginate(
                    Bucket=self._bucket, Prefix=self._key("")
                )
                start = len(self._key(""))
                names = [item["Key"][start:] for page in pages for item in page.get("Contents", [])]
        # A key that ends in / is what consoles and Hadoop leave for an empty folder.
        return sorted(name for name in names if name.endswith(suffix) and name and not name.endswith("/"))

    def delete(self, name: str) -> None:
        """Deletes a file; no error where there is none."""
        with self._errors(name):
            if self.is_s3:
                self._client.delete_object(Bucket=self._bucket, Key=self._key(name))
            else:
                (self._path / name).unlink(missing_ok=True)

    # Tables and JSON

    def read_table(self, name: str, schema: pa.Schema | None = None) -> pa.Table:
        """Returns a Parquet file's rows; raises :class:`StorageError` where its columns are not ``schema``'s."""
        try:
            table = pq.ParquetFile(io.BytesIO(self.read(name))).read()
        except FileNotFoundError:
            raise StorageError("the file does not exist", f"{self.uri}/{name}", "build it anew") from None
        except pa.ArrowInvalid as error:
            raise StorageError(
                f"the file is not readable Parquet: {error}", f"{self.uri}/{name}", "build it anew"
            ) from None
        if schema is not None and table.schema.names != schema.names:
            raise StorageError(
                f"the file has columns {table.schema.names}, expected {schema.names}",
                f"{self.uri}/{name}",
                "it was written by another version: build it anew",
            )
        return table

    def write_table(self, name: str, table: pa.Table, **options: Any) -> None:
        """Writes a table as zstd Parquet, whole; ``options`` are :func:`pyarrow.parquet.write_table`'s."""
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd", **options)
        self.write(name, sink.getvalue())

    def read_json(self, name: str) -> Any:
        """Returns a JSON file's value; raises :class:`FileNotFoundError` or :class:`StorageError`."""
        try:
            return json.loads(self.read(name))
        except ValueError as error:
            raise StorageError(f"the file is not JSON: {error}", f"{self.uri}/{name}", "build it anew") from None

    def write_json(self, name: str, value: Any) -> None:
        """Writes a value as indented JSON, whole."""
        self.write(name, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())

    # Inside

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    @cached_property
    def _client(self) -> S3Client:
        from boto3.session import Session
        from botocore.config import Config as BotoConfig

        # The default session of boto3.client is not safe to share between threads and keeps its first credentials.
        return Session().client(
            "s3",
            endpoint_url=self._config.endpoint_url,
            region_name=self._config.region,
            config=BotoConfig(retries={"mode": "standard", "max_attempts": 6}, connect_timeout=10, read_timeout=60),
        )

    @contextlib.contextmanager
    def _temporary(self, name: str, content: bytes) -> Iterator[Path]:
        target = self._path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, path = tempfile.mkstemp(dir=target.parent, prefix=".")
        temporary = Path(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _create_object(self, name: str, content: bytes) -> bool:
        try:
            self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=content, IfNoneMatch="*")
        except self._client.exceptions.ClientError as error:
            if _status(error) not in (409, 412):
                raise
            # The client's own retry of a PUT whose answer was lost gets 412 although the first one succeeded.
            return self.read(name) == content
        return True

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        where = f"{self.uri}/{name}" if name else self.uri
        try:
            yield
        except (FileNotFoundError, StorageError):
            raise
        except OSError as error:
            raise StorageError(
                f"the storage failed: {error.strerror or error}", where, "check path, rights and space"
            ) from error
        except Exception as error:
            if not self.is_s3:
                raise
            raise _s3_error(error, where) from error


@contextlib.contextmanager
def hold_lease(folder: Folder, name: str, beat_s: float | None = None) -> Iterator[Callable[[], None]]:
    """Holds the lease ``name`` of a folder while the context lasts; yields a function that raises once it is lost.

    A lease is a file ``_<name>.<n>.json`` that its holder rewrites every ``beat_s`` seconds (default :data:`BEAT_S`).
    Where the last one's holder is dead, the next is number n + 1: of several who take over, :meth:`Folder.create` lets
    one win. No clocks are compared. Raises :class:`StorageError` where another holder lives.
    """
    beat_s = BEAT_S if beat_s is None else beat_s
    number, last = _last_lease(folder, name)
    if last is not None and _lives(folder, f"_{name}.{number}.json", last, beat_s):
        raise _held(folder, last)
    number += last is not None
    file = f"_{name}.{number}.json"
    mine: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex, "beat": 0}
    if not folder.create(file, json.dumps(mine).encode()):
        raise _held(folder, folder.read_json(file))
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(beat_s):
            mine["beat"] += 1
            # A sign of life that cannot be written is written late, or the lease is lost, which require_held tells.
            with contextlib.suppress(StorageError):
                folder.write_json(file, mine)

    def require_held() -> None:
        newer, holder = _last_lease(folder, name)
        if newer != number:
            raise _held(folder, holder or {})

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield require_held
    finally:
        ended.set()
        thread.join()
        for past in range(number + 1):
            folder.delete(f"_{name}.{past}.json")


def _last_lease(folder: Folder, name: str) -> tuple[int, dict[str, Any] | None]:
    """Returns the greatest number of a lease and its content; (0, None) where there is none."""
    number, last = 0, None
    while True:
        try:
            content: dict[str, Any] = folder.read_json(f"_{name}.{number + (last is not None)}.json")
        except FileNotFoundError:
            return number, last
        number, last = number + (last is not None), content


def _lives(folder: Folder, file: str, seen: dict[str, Any], beat_s: float) -> bool:
    """Returns whether a lease's holder gives a sign of life; waits for one unless its process can be looked up."""
    if seen.get("host") == socket.gethostname() and not _is_running(int(seen["pid"])):
        return False
    deadline = time.monotonic() + 4 * beat_s
    while time.monotonic() < deadline:
        time.sleep(min(beat_s, 1.0))
        try:
            if folder.read_json(file) != seen:
                return True
        except FileNotFoundError:
            return False
    return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _held(folder: Folder, holder: dict[str, Any]) -> StorageError:
    who = f"process {holder.get('pid')} on {holder.get('host')}"
    return StorageError(f"{who} is at work on this folder", folder.uri, "wait until it is done, or give another folder")


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _s3_error(error: Exception, where: str) -> Exception:
    """Returns the exception to raise for one of botocore's."""
    from botocore import exceptions

    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run under a role"
        return StorageError("there are no credentials for S3", where, remedy)
    if isinstance(error, exceptions.BotoCoreError | ValueError):
        return StorageError(f"S3 cannot be reached: {error}", where, "check storage.endpoint_url, region and network")
    if not isinstance(error, exceptions.ClientError):
        return error
    code = str(error.response.get("Error", {}).get("Code", ""))
    # A HEAD, as a transfer in parts begins with, has no body to say which key.
    if code in ("NoSuchKey", "404"):
        return FileNotFoundError(where)
    what, remedy = f"S3 answers {code or _status(error)}: {error}", "check the endpoint and try again"
    if code == "NoSuchBucket":
        what, remedy = "the bucket does not exist", "create it, or correct the URI"
    elif _status(error) in (401, 403):
        what, remedy = f"S3 denies access ({code})", "check the credentials and their policy"
    return StorageError(what, where, remedy)
