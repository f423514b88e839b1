"""PrimeKG's ``kg.csv`` as it lies on a disk or under ``s3://``: found, mapped, identified, not yet parsed."""

from __future__ import annotations

import gzip
import hashlib
import io
import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import IO, Any, Final, NamedTuple

import pyarrow as pa

from medreason_dist.config import StorageConfig
from medreason_dist.errors import SourceError
from medreason_dist.storage import Folder

ENDS: Final = ("x", "y")
NODE_PARTS: Final = ("index", "id", "type", "name", "source")
COLUMNS: Final = ("relation", "display_relation", *(f"{end}_{part}" for end in ENDS for part in NODE_PARTS))
REMEDY: Final = "set graph.source to PrimeKG's kg.csv (https://doi.org/10.7910/DVN/IXA7BM)"


class Source(NamedTuple):
    """A ``kg.csv``, plain or gzipped."""

    uri: str
    content: Any
    """A pa.Buffer, mapped from a disk."""
    sha256: str

    @property
    def is_gzip(self) -> bool:
        """Whether the content is gzipped, whatever the file's name says."""
        return bytes(self.content[:2]) == b"\x1f\x8b"


def open_source(uri: str, storage: StorageConfig | None = None) -> Source:
    """Returns the file at ``uri`` (a path or ``s3://``), unread but for its digest.

    Raises :class:`SourceError` where there is none or it is empty, :class:`StorageError` where it cannot be reached.
    """
    parent, _, name = uri.rpartition("/")
    folder = Folder(parent or ("/" if uri.startswith("/") else "."), storage)
    if not name or (not folder.is_s3 and (folder.path / name).is_dir()):
        raise SourceError("graph.source is a folder, not a file", uri, REMEDY)
    try:
        with tempfile.TemporaryFile() if folder.is_s3 else (folder.path / name).open("rb") as file:
            if folder.is_s3:
                folder.copy_into(name, file)
            file.seek(0)
            # Read, not mapped: pages that nobody needs again would count as this process's memory.
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            content = map_file(file)
    except FileNotFoundError:
        raise SourceError("graph.source does not exist", uri, REMEDY) from None
    except PermissionError:
        raise SourceError("graph.source may not be read", uri, "check the file's rights") from None
    if not content.size:
        raise SourceError("graph.source is empty", uri, REMEDY)
    return Source(uri, content, digest)


def map_file(file: IO[bytes]) -> Any:
    """Returns an open file's content as a pa.Buffer that costs no memory of its own: the published csv has 937 MB."""
    file.flush()
    # An empty file cannot be mapped.
    size = os.fstat(file.fileno()).st_size
    return pa.py_buffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b"")


def iterate_lines(source: Source) -> Iterator[str]:
    """Yields the lines with their ends, as the csv module wants them; bytes that are no UTF-8 as lone surrogates."""
    raw: Any = pa.BufferReader(source.content)
    stream = gzip.GzipFile(fileobj=raw) if source.is_gzip else raw
    yield from io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
