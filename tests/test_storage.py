"""Folders on a disk and on a real S3 server: the same contract, and each one's own faults."""

from __future__ import annotations

import errno
import io
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING

import boto3
import pyarrow as pa
import pytest

from medreason_dist.config import Config, StorageConfig, load_config
from medreason_dist.errors import ConfigError, StorageError
from medreason_dist.storage import Folder

if TYPE_CHECKING:
    from benchmarks.s3_server import S3Server

SCHEMA = pa.schema({"a": pa.int64(), "b": pa.string()})


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.s3)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    if request.param == "disk":
        yield Folder(str(tmp_path / "folder"))
    else:
        server: S3Server = request.getfixturevalue("s3")
        yield Folder(f"{server.new_bucket()}/some/prefix", server.storage)


# The contract of both ------------------------------------------------------------------------------------------------


def test_write_read_replace_delete(folder: Folder) -> None:
    assert not folder.exists("a/b.bin")
    folder.write("a/b.bin", b"one")
    folder.write("a/b.bin", b"two")
    assert folder.exists("a/b.bin") and not folder.exists("a")
    assert folder.read("a/b.bin") == folder.child("a").read("b.bin") == b"two"
    folder.delete("a/b.bin")
    folder.delete("a/b.bin")
    assert not folder.exists("a/b.bin")
    with pytest.raises(FileNotFoundError):
        folder.read("a/b.bin")


def test_empty_and_large_content(folder: Folder) -> None:
    large = os.urandom(9 * 1024 * 1024)
    for content in (b"", large):
        folder.write("x", content)
        assert folder.read("x") == content


def test_names_are_sorted_relative_and_filtered(folder: Folder) -> None:
    assert folder.names() == []
    for name in ("b.json", "a/c.parquet", "a/b/d.parquet", "é x.parquet"):
        folder.write(name, b"1")
    assert folder.names() == ["a/b/d.parquet", "a/c.parquet", "b.json", "é x.parquet"]
    assert folder.names(".parquet") == ["a/b/d.parquet", "a/c.parquet", "é x.parquet"]
    assert folder.child("a").names() == ["b/d.parquet", "c.parquet"]


def test_a_sibling_with_the_same_beginning_is_not_listed(folder: Folder) -> None:
    folder.child("run").write("x", b"1")
    folder.child("run2").write("y", b"1")
    assert folder.child("run").names() == ["x"]


def test_create_writes_once(folder: Folder) -> None:
    assert folder.create("lock", b"first")
    assert not folder.create("lock", b"second")
    assert not folder.create("lock", b"first")
    assert folder.read("lock") == b"first"
    folder.write("written", b"first")
    assert not folder.create("written", b"first")


def test_create_has_one_winner_of_sixteen(folder: Folder) -> None:
    barrier = Barrier(16)

    def attempt(number: int) -> bool:
        barrier.wait()
        return folder.create("lock", str(number).encode())

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(attempt, range(16)))
    assert sum(won) == 1
    assert folder.read("lock") == str(won.index(True)).encode()
    assert folder.names() == ["lock"]


def test_readers_see_a_whole_file_or_none(folder: Folder) -> None:
    contents = [bytes([byte]) * 300_000 for byte in (1, 2)]
    folder.write("x", contents[0])

    def write() -> None:
        for turn in range(20):
            folder.write("x", contents[turn % 2])

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            assert folder.read("x") in contents
        writing.result()


def test_delete_all(folder: Folder) -> None:
    for name in ("a", "b/c", "d"):
        folder.write(name, b"1")
    folder.delete_all(name for name in ("a", "none", "b/c"))
    folder.delete_all([])
    assert folder.names() == ["d"]


def test_copy_into(folder: Folder, tmp_path: Path) -> None:
    for content in (b"", os.urandom(9 * 1024 * 1024)):
        folder.write("x", content)
        with (tmp_path / "copy").open("wb") as file:
            folder.copy_into("x", file)
        assert (tmp_path / "copy").read_bytes() == content
    with pytest.raises(FileNotFoundError):
        folder.copy_into("none", io.BytesIO())


def test_pickled_folder_works(folder: Folder) -> None:
    folder.write("x", b"1")
    copy = pickle.loads(pickle.dumps(folder))
    assert copy.read("x") == b"1" and repr(copy) == repr(folder)


def test_table_and_json_round_trip(folder: Folder) -> None:
    table = pa.Table.from_pylist([{"a": 1, "b": "é"}, {"a": None, "b": None}], schema=SCHEMA)
    folder.write_table("t.parquet", table)
    assert folder.read_table("t.parquet", SCHEMA).equals(table)
    folder.write_json("v.json", {"é": [1, None]})
    assert folder.read_json("v.json") == {"é": [1, None]}


def test_unfit_tables_and_json_say_so(folder: Folder) -> None:
    folder.write("t.parquet", b"PAR1 no")
    folder.write("v.json", b"{")
    with pytest.raises(StorageError, match="not readable Parquet"):
        folder.read_table("t.parquet")
    with pytest.raises(StorageError, match="does not exist"):
        folder.read_table("none.parquet")
    with pytest.raises(StorageError, match="not JSON"):
        folder.read_json("v.json")
    with pytest.raises(FileNotFoundError):
        folder.read_json("none.json")
    folder.write_table("t.parquet", pa.table({"a": [1]}))
    with pytest.raises(StorageError, match="has columns"):
        folder.read_table("t.parquet", SCHEMA)


# A disk --------------------------------------------------------------------------------------------------------------


def test_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(str(tmp_path))
    folder.write("x", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (folder.write, folder.create):
        with pytest.raises(StorageError, match="the disk is full: No space left") as caught:
            write("x", b"new")
        assert caught.value.remedy.startswith("free space")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert folder.read("x") == b"old"


def test_temporary_files_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".tmp123").write_bytes(b"half")
    assert Folder(str(tmp_path)).names() == []


def test_path_through_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    folder = Folder(str(tmp_path / "file"))
    for call in (lambda: folder.write("x", b""), lambda: folder.create("x", b""), lambda: folder.read("x")):
        with pytest.raises(StorageError) as caught:
            call()
        assert str(tmp_path / "file") in caught.value.where and caught.value.remedy


def test_uri_forms(tmp_path: Path) -> None:
    assert Folder(f"file://{tmp_path}").path == tmp_path
    assert Folder(f"{tmp_path}/").child("a").uri == f"{tmp_path}/a"
    assert Folder("/").path == Folder("file:///").path == Path("/")
    for uri in ("gs://bucket/x", "s3://", "s3:///x", "http://host/x"):
        with pytest.raises(StorageError):
            Folder(uri)
    with pytest.raises(StorageError, match="on this machine"):
        _ = Folder("s3://bucket/x").path


@pytest.mark.parametrize(
    ("pairs", "key"),
    [
        (["storage.sse=AES128"], "storage.sse"),
        (["storage.sse_kms_key_id=1"], "storage.sse_kms_key_id"),
        (["storage.sse=AES256", "storage.sse_kms_key_id=1"], "storage.sse_kms_key_id"),
    ],
)
def test_an_encryption_that_cannot_be(pairs: list[str], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Config, None, pairs)
    assert f"'{key}'" in caught.value.what and caught.value.remedy


def test_an_encryption_that_can_be() -> None:
    arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    storage = load_config(Config, None, ["storage.sse=aws:kms", f"storage.sse_kms_key_id={arn}"]).storage
    assert (storage.sse, storage.sse_kms_key_id) == ("aws:kms", arn)


# S3 ------------------------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Folder], object]] = {
    "read": lambda folder: folder.read("x"),
    "write": lambda folder: folder.write("x", b"1"),
    "create": lambda folder: folder.create("x", b"1"),
    "names": lambda folder: folder.names(),
}


def fault(folder: Folder, call: str) -> StorageError:
    with pytest.raises(StorageError) as caught:
        CALLS[call](folder)
    assert folder.uri in caught.value.where and caught.value.remedy
    return caught.value


@pytest.mark.s3
def test_bucket_root_and_folder_markers(s3: S3Server) -> None:
    bucket = s3.new_bucket()
    folder = Folder(bucket, s3.storage)
    folder.write("x", b"1")
    client = boto3.client("s3", endpoint_url=s3.endpoint_url, region_name="us-east-1")
    client.put_object(Bucket=bucket.removeprefix("s3://"), Key="empty/", Body=b"")
    client.close()
    assert folder.names() == ["x"]
    assert Folder(f"{bucket}/empty", s3.storage).names() == []


@pytest.mark.s3
def test_more_names_than_one_page(s3: S3Server) -> None:
    folder = Folder(s3.new_bucket(), s3.storage)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: folder.write(f"{number:04d}", b""), range(1100)))
    assert len(folder.names()) == 1100


@pytest.mark.s3
@pytest.mark.parametrize("call", CALLS)
def test_missing_bucket(s3: S3Server, call: str) -> None:
    assert fault(Folder("s3://no-such-bucket/x", s3.storage), call).what == "the bucket does not exist"


@pytest.mark.s3
@pytest.mark.parametrize("call", [*CALLS, "exists"])
@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials(s3: S3Server, monkeypatch: pytest.MonkeyPatch, call: str, variable: str) -> None:
    bucket = s3.new_bucket()
    monkeypatch.setenv(variable, "wrong")
    folder = Folder(bucket, s3.storage)
    with pytest.raises(StorageError, match="S3 denies access"):
        folder.exists("x") if call == "exists" else CALLS[call](folder)


@pytest.mark.s3
def test_no_credentials(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    error = fault(Folder("s3://bucket/x", s3.storage), "names")
    assert error.what.startswith("there are no credentials for S3")


@pytest.mark.s3
@pytest.mark.parametrize("endpoint_url", ["http://127.0.0.1:1", "127.0.0.1:1"])
def test_no_server_at_the_endpoint(s3: S3Server, endpoint_url: str) -> None:
    folder = Folder("s3://bucket/x", StorageConfig(endpoint_url=endpoint_url, region="us-east-1", retry_s=0))
    error = fault(folder, "read")
    assert error.what.startswith("S3 cannot be reached") and "storage.endpoint_url" in error.remedy
