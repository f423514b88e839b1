"""Which rows of a ``kg.csv`` are wrong, and why: the file read once more, line by line, where a block was not sound."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import pyarrow as pa

from medreason_dist.errors import SourceError
from medreason_dist.graph.source import COLUMNS, ENDS, Source, iterate_lines
from medreason_dist.schemas import WRONG_ROWS, NodeType

MAX_INDEX: Final = 2**31 - 1
MAX_DIGITS: Final = 20
LISTED: Final = 10
TYPES: Final = frozenset(NodeType)


class WrongRow(NamedTuple):
    """A row that no graph can be made of."""

    first_line: int
    last_line: int
    """Lines count from 1, the header's. A row has several where a quoted value holds a line break."""
    column: str
    """Empty where it is the row as a whole."""
    what: str
    remedy: str
    row: list[str]
    """The values as read."""

    @property
    def place(self) -> str:
        """Line and column as text."""
        return f"line {self.first_line}" + (f", column {self.column}" if self.column else "")


class _Node(NamedTuple):
    """What the first row that has a node says of it."""

    line: int
    name: str
    type: str


def find_wrong_rows(source: Source, limit: int) -> list[WrongRow]:
    """Returns the wrong rows, in order; ``limit`` is ``graph.wrong_rows_limit``.

    A row is wrong that has another length than the header, an index that is none, an empty name, type or relation, an
    unknown type, a line break in a value, invalid UTF-8, or that gives a node another name or type than an earlier row.

    Raises :class:`SourceError` naming lines, columns and values where there are more than ``limit``, and, whatever the
    limit, for a missing column, a gzip that is cut off, or text that is not csv.
    """
    reader = csv.reader(iterate_lines(source))
    wrong: list[WrongRow] = []
    count = 0
    try:
        for row in _iterate_wrong_rows(source.uri, reader):
            count += 1
            if len(wrong) < max(limit, LISTED):
                wrong.append(row)
    except (EOFError, OSError, zlib.error) as fault:
        where = f"{source.uri}, after line {reader.line_num}"
        raise SourceError(f"the gzip file is cut off or damaged: {fault}", where, "fetch the file again") from None
    except csv.Error as fault:
        where = f"{source.uri}, line {reader.line_num}"
        raise SourceError(f"the line is not csv: {fault}", where, "look for a quote that is not closed") from None
    if count > limit:
        raise _too_many(source.uri, wrong, count, limit)
    return wrong


def iterate_sound_lines(source: Source, wrong: Iterable[WrongRow]) -> Iterator[bytes]:
    """Yields the file's lines without those of the wrong rows."""
    left_out = set(wrong_lines(wrong))
    for number, line in enumerate(iterate_lines(source), start=1):
        if number not in left_out:
            yield line.encode("utf-8", "surrogateescape")


def wrong_lines(wrong: Iterable[WrongRow]) -> Iterator[int]:
    """Yields the numbers of all lines of the wrong rows."""
    for row in wrong:
        yield from range(row.first_line, row.last_line + 1)


def to_table(wrong: Iterable[WrongRow]) -> pa.Table:
    """Returns the wrong rows as a table with :data:`~medreason_dist.schemas.WRONG_ROWS`."""
    rows = [
        {"line": row.first_line, "column": row.column, "detail": row.what, "row": ",".join(map(_readable, row.row))}
        for row in wrong
    ]
    return pa.Table.from_pylist(rows, WRONG_ROWS)


def _too_many(uri: str, wrong: list[WrongRow], count: int, limit: int) -> SourceError:
    if count == 1:
        remedy = f"{wrong[0].remedy}; or set graph.wrong_rows_limit=1 to build without it"
        return SourceError(wrong[0].what, f"{uri}, {wrong[0].place}", remedy)
    listed = [f"\n    {row.place}: {row.what}" for row in wrong[:LISTED]]
    rest = f"\n    and {count - LISTED:,} more" if count > LISTED else ""
    what = f"{count:,} rows are wrong, graph.wrong_rows_limit allows {limit:,}{''.join(listed)}{rest}"
    return SourceError(what, uri, "correct them, or raise graph.wrong_rows_limit to build without them")


def _iterate_wrong_rows(uri: str, reader: Any) -> Iterator[WrongRow]:
    header: list[str] = next(reader, [])
    for column in COLUMNS:
        if column not in header:
            what = f"the column '{column}' is missing"
            raise SourceError(what, f"{uri}, line 1", f"a kg.csv has the columns {', '.join(COLUMNS)}")
    nodes: dict[int, _Node] = {}
    first = reader.line_num + 1
    empty = True
    for values in reader:
        if values:
            empty = False
            fault = _find_fault(header, values, nodes, first)
            if fault is not None:
                yield WrongRow(first, reader.line_num, *fault, values)
        first = reader.line_num + 1
    if empty:
        raise SourceError("the file holds a header but no edges", uri, "fetch the file again")


def _find_fault(
    header: list[str], values: list[str], nodes: dict[int, _Node], line: int
) -> tuple[str, str, str] | None:
    """Returns (column, what, remedy) of a row's first fault; enters the nodes of a row without one into ``nodes``."""
    if len(values) != len(header):
        what = f"the line has {len(values)} columns, the header has {len(header)}"
        return "", what, "quote values that hold a comma, or fetch the file again"
    row = dict(zip(header, values, strict=True))
    for column in COLUMNS:
        if (fault := _find_value_fault(column, row[column])) is not None:
            return column, *fault
    mine: dict[int, _Node] = {}
    for end in ENDS:
        index, node = int(row[f"{end}_index"]), _Node(line, row[f"{end}_name"], row[f"{end}_type"])
        earlier = nodes.get(index) or mine.setdefault(index, node)
        for part in ("name", "type"):
            here, there = getattr(node, part), getattr(earlier, part)
            if here != there:
                what = f"node {index} is {_shorten(here)} here and {_shorten(there)} in line {earlier.line}"
                return f"{end}_{part}", what, f"a node has one {part}: correct either line"
    nodes.update(mine)
    return None


def _find_value_fault(column: str, value: str) -> tuple[str, str] | None:
    """Returns (what, remedy) of a value that is wrong by itself."""
    part = column.rpartition("_")[2]
    fault = None
    if not _is_utf8(value):
        fault = f"{_readable(value)} is not valid UTF-8", "save the file as UTF-8, or fetch it again"
    elif "\n" in value or "\r" in value:
        fault = f"the value {_shorten(value)} holds a line break", "close the quote, or remove the line break"
    elif not value and part in ("index", "name", "type"):
        fault = "the edge leads to nowhere: the value is empty", "name the node, or drop the line"
    elif not value and part == "relation":
        fault = "the edge has no relation: the value is empty", "name it, or drop the line"
    elif part == "index" and not _is_index(value.strip()):
        fault = f"{_shorten(value)} is not a node index", f"allowed are integers from 0 to {MAX_INDEX}"
    elif part == "type" and value not in TYPES:
        fault = f"{_shorten(value)} is not a node type", f"allowed are {', '.join(NodeType)}"
    return fault


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and int(text) <= MAX_INDEX


def _is_utf8(value: str) -> bool:
    return value.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in value)


def _readable(value: str) -> str:
    return value if _is_utf8(value) else ascii(value.encode("utf-8", "surrogateescape"))[1:]


def _shorten(value: str, limit: int = 60) -> str:
    return repr(value if len(value) <= limit else f"{value[:limit]}…")
