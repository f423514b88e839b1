"""What S3 and the way to it do wrong: nothing is lost, one creator wins, and what does not pass is named."""

from __future__ import annotations

import errno
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import tenacity
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, ReadTimeoutError

from benchmarks.s3_proxy import FaultProxy, start_proxy
from benchmarks.s3_server import S3Server
from medreason_dist.errors import StorageError
from medreason_dist.storage import Folder, count_requests
from medreason_dist.storage.s3 import MIB, Connection
from tests.scripted_s3 import Answer, ScriptedS3

# Answers without a server ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> ScriptedS3:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        return ScriptedS3()


@pytest.fixture
def scripted(client: ScriptedS3, monkeypatch: pytest.MonkeyPatch) -> ScriptedS3:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    # A quota that earlier tests left empty would end retries early.
    monkeypatch.setattr("botocore.retries.quota.RetryQuota.acquire", lambda *_: True)
    monkeypatch.setattr("tenacity.wait_random_exponential", lambda **_: tenacity.wait_none())
    client.script()
    return client


MINE = "its own"
CONFLICT = Answer(409, "ConditionalRequestConflict")
EXISTS = Answer(412, "PreconditionFailed")
MISSING = Answer(404)
LOST = Answer(raises=ReadTimeoutError(endpoint_url="http://127.0.0.1:1"))


def writer(name: str) -> Answer:
    return Answer(headers=(("x-amz-meta-writer", name),))


@pytest.mark.parametrize(
    ("answers", "won", "methods"),
    [
        ([Answer()], True, ["PUT"]),
        ([EXISTS, writer("another")], False, ["PUT", "HEAD"]),
        ([EXISTS, Answer()], False, ["PUT", "HEAD"]),
        ([LOST, EXISTS, writer(MINE)], True, ["PUT", "PUT", "HEAD"]),
        ([LOST, LOST, LOST, writer(MINE)], True, ["PUT", "PUT", "PUT", "HEAD"]),
        ([LOST, LOST, LOST, MISSING, Answer()], True, ["PUT", "PUT", "PUT", "HEAD", "PUT"]),
        # What made it fail was deleted before it was looked at.
        ([EXISTS, MISSING, Answer()], True, ["PUT", "HEAD", "PUT"]),
        # Another upload was under way: it failed, or it won.
        ([CONFLICT, MISSING, Answer()], True, ["PUT", "HEAD", "PUT"]),
        ([CONFLICT, MISSING, EXISTS, writer("another")], False, ["PUT", "HEAD", "PUT", "HEAD"]),
    ],
)
def test_create_finds_out_who_won(
    scripted: ScriptedS3, monkeypatch: pytest.MonkeyPatch, answers: list[Answer], won: bool, methods: list[str]
) -> None:
    monkeypatch.setattr("uuid.UUID.hex", MINE)
    scripted.script(*answers)
    assert scripted.folder().create("x", b"1") is won
    assert scripted.methods() == methods
    assert {request.headers["if-none-match"] for request in scripted.sent if request.method == "PUT"} == {"*"}


def test_a_create_that_cannot_be_found_out_is_an_error(scripted: ScriptedS3) -> None:
    scripted.script(LOST)
    with pytest.raises(StorageError, match="S3 cannot be reached, tried for"):
        scripted.folder(retry_s=0).create("x", b"1")
    assert scripted.methods() == ["PUT"] * 3 + ["HEAD"] * 3


CALLS: dict[str, Callable[[Folder], object]] = {
    "read": lambda folder: folder.read("x"),
    "copy_into": lambda folder: folder.copy_into("x", io.BytesIO()),
    "write": lambda folder: folder.write("x", b"1"),
    "create": lambda folder: folder.create("x", b"1"),
    "exists": lambda folder: folder.exists("x"),
    "names": lambda folder: folder.names(),
    "delete": lambda folder: folder.delete("x"),
    "delete_all": lambda folder: folder.delete_all(["x", "y"]),
}


@pytest.mark.parametrize(
    ("answer", "what", "remedy"),
    [
        (Answer(403, "InvalidAccessKeyId"), "denies access (InvalidAccessKeyId): said so", "credentials"),
        (Answer(403, "AccessDenied"), "denies access (AccessDenied)", "PutObject"),
        (Answer(403, "RequestTimeTooSkewed"), "clock", "set the clock"),
        (Answer(400, "ExpiredToken"), "have expired", "sign in again"),
        (Answer(404, "NoSuchBucket"), "the bucket does not exist", "create it"),
        (Answer(400, "AuthorizationHeaderMalformed"), "another region", "storage.region"),
        (Answer(400, "KMS.DisabledException"), "cannot use the KMS key", "storage.sse_kms_key_id"),
        (Answer(507, "InsufficientStorage"), "no space left", "free space"),
        (Answer(403, "QuotaExceeded"), "no space left", "quota"),
        (Answer(501, "NotImplemented"), "answers NotImplemented: said so", "AWS_REQUEST_CHECKSUM_CALCULATION"),
        (Answer(raises=NoCredentialsError()), "no credentials", "AWS_ACCESS_KEY_ID"),
    ],
)
def test_what_does_not_pass_is_named_at_once(scripted: ScriptedS3, answer: Answer, what: str, remedy: str) -> None:
    for call in ("read", "write", "create"):
        scripted.script(answer)
        with pytest.raises(StorageError) as caught:
            CALLS[call](scripted.folder())
        assert what in caught.value.what and remedy in caught.value.remedy
        assert caught.value.where == "s3://bucket/prefix/x"
        assert len(scripted.sent) == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (Answer(503, "SlowDown"), r"S3 failed for \d+ s, retries included: .*(SlowDown|503)"),
        (Answer(500, "InternalError"), r"S3 failed for \d+ s, retries included: .*(InternalError|500)"),
        (LOST, r"S3 cannot be reached, tried for \d+ s, retries included: Read timeout"),
        (Answer(raises=EndpointConnectionError(endpoint_url="here")), r"S3 cannot be reached, tried for \d+ s"),
    ],
)
def test_what_outlasts_the_retries_says_so(scripted: ScriptedS3, call: str, answer: Answer, what: str) -> None:
    scripted.script(answer)
    with pytest.raises(StorageError) as caught:
        CALLS[call](scripted.folder(retry_s=0))
    assert re.match(what, caught.value.what) and "run the same command again" in caught.value.remedy
    assert len(scripted.sent) == (6 if call == "create" else 3)


def test_a_name_that_no_bucket_has(scripted: ScriptedS3) -> None:
    with pytest.raises(StorageError, match=r"S3 has no such names: .*Invalid bucket name \"a b\"") as caught:
        scripted.folder(bucket="a b").read("x")
    assert caught.value.remedy == "correct the URI"


def test_retries_outlast_the_quota_of_the_client(
    scripted: ScriptedS3, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("botocore.retries.quota.RetryQuota.acquire", lambda *_: False)
    scripted.script(*[LOST] * 5, Answer(body=b"content"))
    assert scripted.folder().read("x") == b"content"
    assert len(scripted.sent) == 6
    assert caplog.text.count("s3://bucket/prefix/x: Read timeout on endpoint URL") == 5


def test_a_body_that_is_too_short_is_read_again(scripted: ScriptedS3) -> None:
    short = Answer(body=b"con", headers=(("content-length", "7"),))
    scripted.script(short, short, short, Answer(body=b"content", headers=(("content-length", "7"),)))
    assert scripted.folder().read("x") == b"content"
    scripted.script(short)
    with pytest.raises(StorageError, match="S3's answers broke off for"):
        scripted.folder(retry_s=0).read("x")


def test_a_body_that_is_not_what_was_written_is_read_again(scripted: ScriptedS3) -> None:
    checksum = ("x-amz-checksum-crc32", "jNwWgw==")
    scripted.script(Answer(body=b"y", headers=(checksum,)), Answer(body=b"x", headers=(checksum,)))
    assert scripted.folder().read("x") == b"x"
    assert len(scripted.sent) == 2


def test_delete_all_sees_what_was_not_deleted(scripted: ScriptedS3) -> None:
    def fault(code: str) -> Answer:
        error = f"<Error><Key>prefix/x</Key><Code>{code}</Code><Message>said so</Message></Error>"
        return Answer(body=f"<DeleteResult>{error}</DeleteResult>".encode())

    scripted.script(fault("InternalError"), Answer(body=b"<DeleteResult/>"))
    scripted.folder().delete_all(["x", "y"])
    assert len(scripted.sent) == 2
    scripted.script(fault("AccessDenied"))
    with pytest.raises(StorageError, match=r"denies access \(AccessDenied\): said so"):
        scripted.folder().delete_all(["x", "y"])
    assert len(scripted.sent) == 1
    scripted.script()
    scripted.folder().delete_all([])
    assert scripted.sent == []


KMS = {"sse": "aws:kms", "sse_kms_key_id": "arn:aws:kms:eu-west-1:1:key/2"}


@pytest.mark.parametrize("storage", [{}, {"sse": "AES256"}, {"sse": "aws:kms"}, KMS])
def test_every_object_is_encrypted_and_none_is_public(
    scripted: ScriptedS3, monkeypatch: pytest.MonkeyPatch, storage: dict[str, str]
) -> None:
    parts = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, use_threads=False)
    monkeypatch.setattr("medreason_dist.storage.s3.TRANSFER", parts)
    upload = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
    part = Answer(headers=(("ETag", "1"),))
    scripted.script(
        Answer(), Answer(), Answer(body=upload), part, part, Answer(body=b"<CompleteMultipartUploadResult/>")
    )
    folder = scripted.folder(**storage)
    folder.write("x", b"1")
    folder.create("x", b"1")
    folder.write("x", bytes(6 * MIB))
    begin = [f"{request.method} {urlsplit(request.url).query.partition('=')[0]}" for request in scripted.sent]
    assert begin == ["PUT ", "PUT ", "POST uploads", "PUT uploadId", "PUT uploadId", "POST uploadId"]
    created = scripted.sent[:3]
    for request in created:
        assert request.headers.get("x-amz-server-side-encryption") == storage.get("sse")
        key_id = request.headers.get("x-amz-server-side-encryption-aws-kms-key-id")
        assert key_id == storage.get("sse_kms_key_id")
    scripted.script(Answer(headers=(("content-length", "0"), ("ETag", "1"))))
    for call in CALLS.values():
        call(folder)
    assert not [
        key for request in created + scripted.sent for key in request.headers if re.search("acl|grant", key, re.I)
    ]


def test_requests_are_counted_with_their_retries(scripted: ScriptedS3) -> None:
    before = Counter(count_requests())
    scripted.script(LOST, LOST, Answer())
    scripted.folder().write("x", b"1")
    scripted.folder().read("x")
    assert Counter(count_requests()) - before == {"GetObject": 1, "PutObject": 3}


def test_children_share_a_client(scripted: ScriptedS3) -> None:
    scripted.folder().child("a").child("b").read("c")
    assert [urlsplit(request.url).path for request in scripted.sent] == ["/bucket/prefix/a/b/c"]


def test_a_link_whose_answer_was_lost_counts_as_won(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def link_and_repeat(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", link_and_repeat)
    folder = Folder(str(tmp_path))
    assert folder.create("x", b"1") and not folder.create("x", b"1")


# A real server behind a proxy -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(s3: S3Server) -> Iterator[FaultProxy]:
    with start_proxy(s3) as proxy:
        yield proxy


@pytest.fixture
def proxy(running: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> FaultProxy:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr("tenacity.wait_random_exponential", lambda **_: tenacity.wait_fixed(0.05))
    monkeypatch.setattr("medreason_dist.storage.s3.READ_TIMEOUT_S", 0.5)
    parts = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    monkeypatch.setattr("medreason_dist.storage.s3.TRANSFER", parts)
    running.inject()
    return running


FAULTS: dict[str, dict[str, Any]] = {
    "503": {"kind": "503", "times": 4},
    "reset": {"kind": "reset", "times": 4},
    "reset_after": {"kind": "reset_after", "times": 4},
    "truncate": {"kind": "truncate", "times": 4, "after": 10},
    "slow": {"kind": "slow", "times": 1, "bytes_per_s": 2**20},
    "delay": {"kind": "delay", "times": 1, "seconds": 1},
}


@pytest.mark.s3
@pytest.mark.parametrize("kind", FAULTS)
def test_every_call_outlasts_a_fault(s3: S3Server, proxy: FaultProxy, kind: str) -> None:
    bucket = s3.new_bucket()
    folder, direct = Folder(f"{bucket}/a", proxy.storage), Folder(f"{bucket}/a", s3.storage)
    content = os.urandom(300_000)

    def inject() -> None:
        proxy.inject({"match": "^[A-Z]+ /", **FAULTS[kind]})

    inject()
    folder.write("x", content)
    assert direct.read("x") == content
    inject()
    assert folder.read("x") == content
    inject()
    assert folder.exists("x")
    inject()
    assert folder.create("y", b"mine") and direct.read("y") == b"mine"
    inject()
    assert not folder.create("x", b"not mine")
    inject()
    assert folder.names() == ["x", "y"]
    inject()
    file = io.BytesIO()
    folder.copy_into("x", file)
    assert file.getvalue() == content
    inject()
    folder.delete("x")
    inject()
    folder.delete_all(["x", "y"])
    assert direct.names() == []
    assert proxy.seen()


@pytest.mark.s3
@pytest.mark.parametrize("kind", ["503", "reset", "reset_after"])
@pytest.mark.parametrize("match", ["^POST .*uploads", "^PUT .*partNumber=2", "^POST .*uploadId"])
def test_a_large_file_outlasts_a_fault_in_any_part(s3: S3Server, proxy: FaultProxy, kind: str, match: str) -> None:
    bucket = s3.new_bucket()
    folder = Folder(bucket, proxy.storage)
    content = os.urandom(11 * MIB)
    proxy.inject({"match": match, **FAULTS[kind]})
    folder.write("x", content)
    assert proxy.seen() == {kind: 4}
    proxy.inject({"match": "^GET", **FAULTS["truncate"]})
    assert folder.read("x") == content


@pytest.mark.s3
def test_a_large_file_that_fails_leaves_the_old_one_and_no_parts(s3: S3Server, proxy: FaultProxy) -> None:
    bucket = s3.new_bucket()
    folder = Folder(bucket, replace(proxy.storage, retry_s=0))
    folder.write("x", b"old")
    proxy.inject({"match": "^PUT .*partNumber=2", "kind": "503", "times": -1})
    with pytest.raises(StorageError, match=r"S3 failed for .*SlowDown"):
        folder.write("x", bytes(11 * MIB))
    proxy.inject()
    assert folder.read("x") == b"old" and folder.names() == ["x"]
    client = Connection(s3.storage).client
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket.removeprefix("s3://"))
    client.close()


@pytest.mark.s3
@pytest.mark.parametrize("call", CALLS)
def test_an_outage_ends_in_an_error(s3: S3Server, proxy: FaultProxy, call: str) -> None:
    folder = Folder(s3.new_bucket(), replace(proxy.storage, retry_s=0.5))
    proxy.inject({"match": "^", "kind": "503", "times": -1})
    with pytest.raises(StorageError, match="S3 failed for") as caught:
        CALLS[call](folder)
    assert "run the same command again" in caught.value.remedy
    assert 3 <= proxy.seen()["503"] < 100


@pytest.mark.s3
def test_one_of_sixteen_wins_although_answers_are_lost(
    s3: S3Server, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The server takes seconds where sixteen want the same name.
    monkeypatch.setattr("medreason_dist.storage.s3.READ_TIMEOUT_S", 20)
    folder = Folder(s3.new_bucket(), proxy.storage)
    folder.write("warm", b"")
    barrier = Barrier(16)

    def attempt(number: int) -> bool:
        barrier.wait()
        return folder.create("lock", str(number % 2).encode())

    proxy.inject({"match": "^PUT", "kind": "reset_after", "times": 8}, {"match": "^PUT", "kind": "503", "times": 8})
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(attempt, range(16)))
    assert sum(won) == 1
    assert folder.read("lock") == str(won.index(True) % 2).encode()
    assert "pool is full" not in caplog.text


# A real server ----------------------------------------------------------------------------------------------------------


@pytest.mark.s3
def test_a_real_server_encrypts(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    monkeypatch.setattr("medreason_dist.storage.s3.TRANSFER", parts)
    bucket = s3.new_bucket()
    folder = Folder(bucket, replace(s3.storage, sse="AES256"))
    content = {"small": b"1", "large": os.urandom(6 * MIB), "created": b"2"}
    folder.write("small", content["small"])
    folder.write("large", content["large"])
    assert folder.create("created", content["created"]) and not folder.create("created", b"3")
    client = boto3.client("s3", endpoint_url=s3.endpoint_url, region_name="us-east-1")
    for name, expected in content.items():
        head = client.head_object(Bucket=bucket.removeprefix("s3://"), Key=name)
        assert head["ServerSideEncryption"] == "AES256"
        assert folder.read(name) == expected
    client.close()


@pytest.mark.s3
def test_a_copy_onto_a_full_disk(s3: S3Server) -> None:
    class FullDisk(io.BytesIO):
        def write(self, content: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    folder = Folder(s3.new_bucket(), s3.storage)
    folder.write("x", b"1")
    with pytest.raises(StorageError, match="the disk is full: No space left on device") as caught:
        folder.copy_into("x", FullDisk())
    assert caught.value.where == f"a copy of {folder.uri}/x"


@pytest.mark.s3
def test_as_few_requests_as_can_be(s3: S3Server) -> None:
    folder = Folder(f"{s3.new_bucket()}/a", s3.storage)
    before = Counter(count_requests())
    folder.write("x", b"1")
    folder.read("x")
    folder.exists("x")
    folder.create("y", b"1")
    folder.child("b").names()
    folder.copy_into("x", io.BytesIO())
    folder.delete_all(f"{number}" for number in range(1001))
    found = Counter(count_requests()) - before
    assert found == {
        "DeleteObjects": 2,
        "GetObject": 2,
        "HeadObject": 2,
        "ListObjectsV2": 1,
        "PutObject": 2,
    }


@pytest.mark.s3
def test_a_server_that_wants_no_checksums(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    folder = Folder(s3.new_bucket(), s3.storage)
    folder.write("x", b"1")
    assert folder.read("x") == b"1"
    folder.delete_all(["x"])
    assert folder.names() == []
