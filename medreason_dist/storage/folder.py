"""A folder, wherever it lies."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from medreason_dist.config import StorageConfig
from medreason_dist.errors import StorageError
from medreason_dist.storage.disk import Disk

if TYPE_CHECKING:
    from medreason_dist.storage.s3 import Objects

MANIFEST = "_manifest.json"


class Folder:
    """A folder at ``uri``: a path, or ``s3://bucket/prefix``. Names are relative, with ``/`` between their parts.

    Every method raises :class:`StorageError` where the place cannot be reached, read or written. Instances may be
    pickled and shared between threads; the S3 client is made on first use.
    """

    def __init__(self, uri: str, config: StorageConfig | None = None) -> None:
        scheme, separator, rest = uri.partition("://") if "://" in uri else ("", "", uri)
        rest = rest.rstrip("/") or rest
        self.uri = f"{scheme}{separator}{rest}"
        if separator and scheme not in ("s3", "file"):
            raise StorageError(f"'{scheme}://' is not supported", uri, "give a folder or s3://bucket/prefix")
        self.is_s3 = scheme == "s3"
        self._place = _open_bucket(rest, config or StorageConfig()) if self.is_s3 else Disk(Path(rest))

    def __repr__(self) -> str:
        return f"Folder({self.uri!r})"

    def child(self, name: str) -> Folder:
        """Returns the folder ``name`` in this one."""
        child = copy.copy(self)
        child.uri = f"{self.uri}/{name}"
        child._place = self._place.child(name)
        return child

    @property
    def path(self) -> Path:
        """The folder on this machine's disk; raises :class:`StorageError` for ``s3://``."""
        if not isinstance(self._place, Disk):
            raise StorageError("a folder on this machine is needed here", self.uri, "give a path without s3://")
        return self._place.path

    def arrow_filesystem(self) -> tuple[FileSystem, str]:
        """Returns pyarrow's filesystem and this folder's path in it, for a library that reads and writes by itself.

        What is written so has neither :class:`StorageConfig`'s encryption nor its retries.
        """
        return self._place.arrow_filesystem()

    # Bytes

    def read(self, name: str) -> bytes:
        """Returns a file's content; raises :class:`FileNotFoundError` where there is none."""
        return self._place.read(name)

    def copy_into(self, name: str, file: IO[bytes]) -> None:
        """Writes a file's content into an open one, part by part; :class:`FileNotFoundError` where there is none."""
        self._place.copy_into(name, file)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file whole, replacing what was there."""
        self._place.write(name, content)

    def create(self, name: str, content: bytes) -> bool:
        """Writes a file whole unless it exists; returns whether this call wrote it. Of several callers one wins.

        That holds where the server's answer is lost, too, and for callers with the same content. Where the place fails
        for so long that this cannot be found out, it raises :class:`StorageError`: the file may be there or not.
        """
        return self._place.create(name, content)

    def exists(self, name: str) -> bool:
        """Returns whether a file is there."""
        return self._place.exists(name)

    def names(self, suffix: str = "") -> list[str]:
        """Returns, sorted, the names of all files below this folder that end in ``suffix``."""
        return sorted(name for name in self._place.names() if name.endswith(suffix))

    def delete(self, name: str) -> None:
        """Deletes a file; no error where there is none."""
        self._place.delete(name)

    def delete_all(self, names: Iterable[str]) -> None:
        """Deletes files in the given order; no error where there are none. On S3 a thousand take one request."""
        self._place.delete_all(names)

    # Tables and JSON

    def read_table(self, name: str, schema: pa.Schema | None = None) -> pa.Table:
        """Returns a Parquet file's rows; raises :class:`StorageError` where its columns are not ``schema``'s."""
        return self.read_digested(name, schema)[0]

    def read_digested(self, name: str, schema: pa.Schema | None = None) -> tuple[pa.Table, str]:
        """Returns a Parquet file's rows and the SHA-256 of the file; raises as :meth:`read_table` does."""
        try:
            content = self.read(name)
            table = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True).read()
        except FileNotFoundError:
            raise StorageError("the file does not exist", f"{self.uri}/{name}", "build it anew") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise StorageError(
                f"the file is not readable Parquet: {error}", f"{self.uri}/{name}", "build it anew"
            ) from None
        if schema is not None and table.schema.names != schema.names:
            raise StorageError(
                f"the file has columns {table.schema.names}, expected {schema.names}",
                f"{self.uri}/{name}",
                "it was written by another version: build it anew",
            )
        return table, hashlib.sha256(content).hexdigest()

    def write_table(self, name: str, table: pa.Table, **options: Any) -> None:
        """Writes a table as zstd Parquet, whole; ``options`` are :func:`pyarrow.parquet.write_table`'s."""
        self.write(name, _to_parquet(table, **options))

    def create_table(self, name: str, table: pa.Table) -> bool:
        """Writes a table as :meth:`write_table` does unless the file exists; returns whether this call wrote it."""
        return self.create(name, _to_parquet(table))

    def read_json(self, name: str) -> Any:
        """Returns a JSON file's value; raises :class:`FileNotFoundError` or :class:`StorageError`."""
        try:
            return json.loads(self.read(name))
        except ValueError as error:
            raise StorageError(f"the file is not JSON: {error}", f"{self.uri}/{name}", "build it anew") from None

    def write_json(self, name: str, value: Any) -> None:
        """Writes a value as indented JSON, whole."""
        self.write(name, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def _open_bucket(rest: str, config: StorageConfig) -> Objects:
    from medreason_dist.storage.s3 import Connection, Objects

    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise StorageError("the URI names no bucket", f"s3://{rest}", "give s3://bucket/prefix")
    return Objects(bucket, prefix, Connection(config))


def _to_parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True, **options)
    return sink.getvalue()
