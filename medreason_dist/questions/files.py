"""Files of rows: what they may be called, how they are read, and what is wrong with one that cannot be.

A file that is not what its name says stops the run (:class:`SourceError`); one JSON line that is not JSON is a
:class:`Malformed` row among its neighbors.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medreason_dist.config import StorageConfig
from medreason_dist.errors import SourceError
from medreason_dist.storage import Folder

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_DEPTH = 100
"""Levels of a JSON value. Python's own limit depends on how deep in the program a value is read, and written again."""


@dataclass(frozen=True)
class Malformed:
    """A line that is not JSON: its text and the fault."""

    text: str
    fault: str


@dataclass(frozen=True)
class File:
    """A file by its folder and its name in there."""

    folder: Folder
    name: str

    def __str__(self) -> str:
        return f"{self.folder.uri}/{self.name}"


def list_files(uri: str, storage: StorageConfig) -> list[File]:
    """Returns the file ``uri``, or the files of the folder ``uri`` in name order; other files there are passed over.

    Raises :class:`SourceError` where there is none, :class:`StorageError` where the place cannot be reached.
    """
    if not uri.strip():
        raise SourceError("the path is empty", "questions", "name a file or folder in the config")
    parent, separator, name = uri.rpartition("/")
    if not uri.endswith("/") and not parent.endswith("/"):
        file = File(Folder(parent or separator or ".", storage), name)
        if file.folder.exists(name):
            if not name.endswith(SUFFIXES):
                raise SourceError("the file is of no known kind", uri, f"its name must end in {', '.join(SUFFIXES)}")
            return [file]
    folder = Folder(uri, storage)
    names = folder.names()
    if not names:
        raise SourceError("there is no such file, and no folder with files", uri, "correct the path in the config")
    files = [File(folder, name) for name in names if name.endswith(SUFFIXES)]
    if not files:
        raise SourceError(
            "the folder holds no file of a known kind", uri, f"their names must end in {', '.join(SUFFIXES)}"
        )
    return files


def read_rows(file: File) -> Iterator[Any]:
    """Yields a file's rows: values as JSON or Parquet gives them, :class:`Malformed` for a line that is not JSON.

    Raises :class:`SourceError` for a file without rows, cut-off gzip, invalid UTF-8, a document that is not JSON and
    Parquet that cannot be read.
    """
    try:
        content = file.folder.read(file.name)
    except FileNotFoundError:
        raise SourceError("the file is gone", str(file), "run again") from None
    name = file.name
    if name.endswith(".gz"):
        content, name = _decompress(content, file), name.removesuffix(".gz")
    content = content.removeprefix(BYTE_ORDER_MARK)
    if name.endswith(".parquet"):
        rows = _parquet_rows(content, file)
    elif name.endswith(".jsonl") or _first_line_is_row(content):
        rows = _line_rows(content, file)
    else:
        rows = _document_rows(content, file)
    empty = True
    for row in rows:
        empty = False
        yield row
    if empty:
        raise SourceError("the file has no rows", str(file), "give a file with rows, or leave it out")


def _decompress(content: bytes, file: File) -> bytes:
    try:
        return gzip.decompress(content)
    except EOFError:
        raise SourceError("the gzip file is cut off", str(file), "fetch or copy it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(f"the file is not readable gzip: {error}", str(file), "fetch or copy it again") from None


def _decode(content: bytes, file: File, first_line: int) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1)
        raise SourceError(
            f"the file is not UTF-8: byte 0x{content[error.start]:02x} at byte {column} of line {line}",
            f"{file}, line {line}",
            "convert it to UTF-8, or fetch it again",
        ) from None


def _load(text: str) -> Any:
    """Returns a JSON value; raises :class:`ValueError`, also for a key that an object has twice."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value):
        raise ValueError("nested too deeply")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        items = (item for each in level for item in (each.values() if isinstance(each, dict) else each))
        level = [item for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"key {key!r:.100} stands twice in one object")
    return found


def _line_rows(content: bytes, file: File) -> Iterator[Any]:
    # Lines end at \n alone: str.splitlines would also cut at U+2028 and others that JSON strings may hold.
    for number, line in enumerate(io.BytesIO(content), start=1):
        text = _decode(line, file, number).strip()
        if not text:
            continue
        try:
            yield _load(text)
        except ValueError as error:
            yield Malformed(text, f"line {number} of {file.name} is not JSON: {error}")


def _first_line_is_row(content: bytes) -> bool:
    # MedMCQA's release names its JSON lines .json; PubMedQA's one object of objects may stand on a single line.
    try:
        row = _load(content.lstrip().partition(b"\n")[0].decode())
    except ValueError:
        return False
    return isinstance(row, dict) and not _is_keyed(row)


def _document_rows(content: bytes, file: File) -> Iterator[Any]:
    text = _decode(content, file, 1)
    if not text.strip():
        return
    try:
        document = _load(text)
    except ValueError as error:
        raise SourceError(f"the file is not JSON: {error}", str(file), "mend it, or fetch it again") from None
    if isinstance(document, list):
        yield from document
    elif isinstance(document, dict) and _is_keyed(document):
        yield from ({"pubid": key, **row} for key, row in document.items())
    elif isinstance(document, dict) and document:
        yield document
    elif document != {}:
        raise SourceError("the file is neither an array nor an object of rows", str(file), "give a released file")


def _is_keyed(document: dict[str, Any]) -> bool:
    """Whether an object is PubMedQA's original form, rows keyed by pubid."""
    return bool(document) and all(isinstance(value, dict) for value in document.values())


def _parquet_rows(content: bytes, file: File) -> Iterator[Any]:
    if not content:
        return
    try:
        parquet = pq.ParquetFile(io.BytesIO(content))
        has_maps = "map<" in str(parquet.schema_arrow)
        for batch in parquet.iter_batches(batch_size=1024):
            for row in batch.to_pylist(maps_as_pydicts="strict"):
                found = _with_text_keys(row) if has_maps else row
                yield {name: _without_nulls(value) for name, value in found.items()}
    # Beside Arrow's own: two fields of one name, a map with a key twice, a time that Python has none for.
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        raise SourceError(f"the file is not readable Parquet: {error}", str(file), "fetch or copy it again") from None


def _without_nulls(value: Any) -> Any:
    """Drops a struct's null fields: Parquet gives every row all the option labels that any row of the file has."""
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


def _with_text_keys(value: Any) -> Any:
    """Returns a value as JSON may hold it: a map's keys as text."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list) else value


def digest_files(files: Iterable[tuple[str, str]], storage: StorageConfig) -> dict[str, str]:
    """Returns ``name: file → SHA-256`` of every file of some ``(name, uri)``; raises as :func:`list_files` does."""
    return {
        f"{name}: {file}": hashlib.sha256(file.folder.read(file.name)).hexdigest()
        for name, uri in files
        for file in list_files(uri, storage)
    }
