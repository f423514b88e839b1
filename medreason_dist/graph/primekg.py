"""PrimeKG's ``kg.csv`` → tables of nodes and edges, column by column, in blocks.

Sound files never meet a Python loop over rows. Where a block does not hold what it should, :func:`_raise_fault` reads
the file once more, line by line, to say which value of which line is at fault.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, NoReturn, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from medreason_dist.config import StorageConfig
from medreason_dist.errors import SourceError
from medreason_dist.graph.adjacency import find_positions
from medreason_dist.schemas import EDGES, NODES, NodeType
from medreason_dist.storage import Folder

ENDS: Final = ("x", "y")
NODE_PARTS: Final = ("index", "id", "type", "name", "source")
COLUMNS: Final = ("relation", "display_relation", *(f"{end}_{part}" for end in ENDS for part in NODE_PARTS))
BLOCK_BYTES: Final = 16 * 1024**2
MAX_INDEX: Final = 2**31 - 1


class Source(NamedTuple):
    """A ``kg.csv`` before it is parsed."""

    uri: str
    content: Any
    """A pa.Buffer: mapped from disk, or in memory where it came from ``s3://``."""
    sha256: str


class KnowledgeGraph(NamedTuple):
    """The parsed graph."""

    nodes: pa.Table
    """:data:`~medreason_dist.schemas.NODES`."""
    edges: pa.Table
    """:data:`~medreason_dist.schemas.EDGES`."""
    counts: dict[str, int]
    """rows_read = self_loops + duplicates + rows kept; edges = rows kept + reversed_added."""


class _Rows(NamedTuple):
    """The columns of all blocks: one entry a row of the csv, and the distinct nodes."""

    src: NDArray[np.int32]
    dst: NDArray[np.int32]
    kind: NDArray[np.int16]
    kinds: list[tuple[str, str]]
    nodes: pa.Table


class _Unsound(Exception):
    """A block holds something that no kg.csv may hold."""


def open_source(uri: str, storage: StorageConfig | None = None) -> Source:
    """Returns the file at ``uri`` (a path or ``s3://``), unread but for its digest.

    Raises :class:`SourceError` where there is none or it is empty, :class:`StorageError` where it cannot be reached.
    """
    parent, _, name = uri.rpartition("/")
    folder = Folder(parent or ("/" if uri.startswith("/") else "."), storage)
    remedy = "set graph.source to PrimeKG's kg.csv (https://doi.org/10.7910/DVN/IXA7BM)"
    if not name or (not folder.is_s3 and (folder.path / name).is_dir()):
        raise SourceError("graph.source is a folder, not a file", uri, remedy)
    try:
        # A mapped file costs no memory of its own: the published csv has 937 MB.
        content = pa.py_buffer(folder.read(name)) if folder.is_s3 else _map_file(str(folder.path / name))
    except FileNotFoundError:
        raise SourceError("graph.source does not exist", uri, remedy) from None
    except PermissionError:
        raise SourceError("graph.source may not be read", uri, "check the file's rights") from None
    if not content.size:
        raise SourceError("graph.source is empty", uri, remedy)
    return Source(uri, content, hashlib.sha256(content).hexdigest())


def parse_source(source: Source) -> KnowledgeGraph:
    """Returns nodes and edges: symmetrised, sorted, without self loops and duplicates, which are counted.

    A node is its ``node_index``. Rows that give the same node another id or source (some leave it empty) do not
    contradict each other: the greatest value is kept. Another name or type is a contradiction.

    Raises :class:`SourceError` naming line, column and value for a missing column, a row of another length, a missing
    or non-integer index, an edge to nowhere, an unknown type, a node with two names or types, invalid UTF-8, a cut-off
    gzip, or no rows at all.
    """
    try:
        rows = _read_rows(source)
    except (_Unsound, pa.ArrowException, OSError) as error:
        _raise_fault(source, error)
    return _symmetrise(rows)


def _map_file(path: str) -> Any:
    # An empty file cannot be mapped.
    with pa.OSFile(path) as file:
        if not file.size():
            return pa.py_buffer(b"")
    return pa.memory_map(path).read_buffer()


def _is_gzip(source: Source) -> bool:
    return bytes(source.content[:2]) == b"\x1f\x8b"


# The good path ---------------------------------------------------------------------------------------------------


def _read_rows(source: Source) -> _Rows:
    src, dst, kind, nodes = [], [], [], []
    kinds: dict[tuple[str, str], int] = {}
    for batch in _read_blocks(source):
        ends = [_distinct_nodes(batch, end) for end in ENDS]
        nodes.append(_distinct(pa.concat_tables(ends)))
        src.append(batch["x_index"].to_numpy())
        dst.append(batch["y_index"].to_numpy())
        kind.append(_number_kinds(batch, kinds))
    if not src:
        raise _Unsound("no rows")
    return _Rows(np.concatenate(src), np.concatenate(dst), np.concatenate(kind), list(kinds), _merge_nodes(nodes))


def _read_blocks(source: Source) -> Iterator[Any]:
    stream = pa.BufferReader(source.content)
    if _is_gzip(source):
        stream = pa.CompressedInputStream(stream, "gzip")
    types = {name: pa.int32() if name.endswith("_index") else pa.string() for name in COLUMNS}
    with pacsv.open_csv(
        stream,
        read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES),
        convert_options=pacsv.ConvertOptions(include_columns=list(COLUMNS), column_types=types),
    ) as reader:
        yield from reader


def _distinct_nodes(batch: Any, end: str) -> pa.Table:
    nodes = _distinct(pa.table({part: batch[f"{end}_{part}"] for part in NODE_PARTS}))
    _require(nodes["index"].null_count == 0)
    _require(pc.min(nodes["index"]).as_py() is None or pc.min(nodes["index"]).as_py() >= 0)
    _require(pc.all(pc.is_in(nodes["type"], pa.array([*NodeType], pa.string()))).as_py() is not False)
    _require(pc.any(pc.equal(nodes["name"], "")).as_py() is not True)
    for part in ("id", "name", "source"):
        _require(pc.any(pc.match_substring(nodes[part], "\n")).as_py() is not True)
    return nodes


def _distinct(nodes: pa.Table) -> pa.Table:
    return nodes.group_by(list(NODE_PARTS)).aggregate([])


def _number_kinds(batch: Any, kinds: dict[tuple[str, str], int]) -> NDArray[np.int16]:
    """Returns the number of each row's (relation, display_relation), entering new ones into ``kinds``."""
    relation, display = (batch[name].dictionary_encode() for name in ("relation", "display_relation"))
    codes = relation.indices.to_numpy().astype(np.int64) * len(display.dictionary) + display.indices.to_numpy()
    distinct, inverse = np.unique(codes, return_inverse=True)
    numbers = []
    for code in distinct.tolist():
        first, second = divmod(code, len(display.dictionary))
        kind = relation.dictionary[first].as_py(), display.dictionary[second].as_py()
        _require(all(kind) and not any("\n" in text for text in kind))
        numbers.append(kinds.setdefault(kind, len(kinds)))
    _require(len(kinds) <= np.iinfo(np.int16).max)
    return np.array(numbers, dtype=np.int16)[inverse]


def _merge_nodes(blocks: Sequence[pa.Table]) -> pa.Table:
    merged = _distinct(pa.concat_tables(blocks)).group_by(["index", "type", "name"])
    nodes = merged.aggregate([("id", "max"), ("source", "max")]).sort_by("index").combine_chunks()
    _require(pc.count_distinct(nodes["index"]).as_py() == nodes.num_rows)
    return nodes


def _require(sound: bool) -> None:
    if not sound:
        raise _Unsound


def _symmetrise(rows: _Rows) -> KnowledgeGraph:
    node_index = rows.nodes["index"].to_numpy()
    count = len(node_index)
    order = sorted(range(len(rows.kinds)), key=rows.kinds.__getitem__)
    rank = np.argsort(order)
    src, dst = (find_positions(node_index, end)[0].astype(np.int64) for end in (rows.src, rows.dst))
    proper = src != dst
    src, dst, kind = src[proper], dst[proper], rank[rows.kind[proper]]
    # One number an edge, ordered as (src, dst, relation, display_relation): sorting it sorts and deduplicates at once.
    forward = np.unique((src * count + dst) * len(order) + kind)
    both = np.unique(np.concatenate([forward, _reverse(forward, count, len(order))]))
    pair, kind = np.divmod(both, len(order))
    pairs = pair[np.concatenate([[True], pair[1:] != pair[:-1]])] if len(pair) else pair
    edges = {
        "src": pa.array(node_index[pair // count]),
        "dst": pa.array(node_index[pair % count]),
        "relation": _decode(kind, [rows.kinds[i][0] for i in order]),
        "display_relation": _decode(kind, [rows.kinds[i][1] for i in order]),
    }
    nodes = {
        "node_index": rows.nodes["index"],
        "node_id": rows.nodes["id_max"],
        "node_type": rows.nodes["type"],
        "node_name": rows.nodes["name"],
        "node_source": rows.nodes["source_max"],
        "degree": pa.array(np.bincount(pairs // count, minlength=count).astype(np.int32)),
    }
    counts = {
        "rows_read": len(rows.src),
        "self_loops": len(rows.src) - len(src),
        "duplicates": len(src) - len(forward),
        "reversed_added": len(both) - len(forward),
        "edges": len(both),
        "nodes": count,
    }
    return KnowledgeGraph(pa.table(nodes, schema=NODES), pa.table(edges, schema=EDGES), counts)


def _reverse(keys: NDArray[np.int64], count: int, kinds: int) -> NDArray[np.int64]:
    pair, kind = np.divmod(keys, kinds)
    src, dst = np.divmod(pair, count)
    return cast("NDArray[np.int64]", (dst * count + src) * kinds + kind)


def _decode(codes: NDArray[np.int64], values: list[str]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values, pa.string())).cast(
        pa.string()
    )


# The bad path ----------------------------------------------------------------------------------------------------


def _raise_fault(source: Source, error: Exception) -> NoReturn:
    """Raises the :class:`SourceError` of the first faulty line."""
    raw: Any = pa.BufferReader(source.content)
    stream = gzip.GzipFile(fileobj=raw) if _is_gzip(source) else raw
    reader = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=""))
    try:
        _raise_line_fault(source.uri, reader)
    except (EOFError, OSError, zlib.error) as fault:
        where = f"{source.uri}, after line {reader.line_num}"
        raise SourceError(f"the gzip file is cut off or damaged: {fault}", where, "fetch the file again") from None
    except csv.Error as fault:
        where = f"{source.uri}, line {reader.line_num}"
        raise SourceError(f"the line is not csv: {fault}", where, "look for a quote that is not closed") from None
    raise SourceError(f"the file cannot be read as csv: {error}", source.uri, "fetch the file again")


def _raise_line_fault(uri: str, reader: Any) -> None:
    header: list[str] = next(reader, [])
    for column in COLUMNS:
        if column not in header:
            what = f"the column '{column}' is missing"
            raise SourceError(what, f"{uri}, line 1", f"a kg.csv has the columns {', '.join(COLUMNS)}")
    seen: dict[int, tuple[int, dict[str, str]]] = {}
    line = reader.line_num
    for values in reader:
        line, first = reader.line_num, line + 1
        if not values:
            continue
        where = f"{uri}, line {first}"
        if len(values) != len(header):
            what = f"the line has {len(values)} columns, the header has {len(header)}"
            raise SourceError(what, where, "quote values that hold a comma, or fetch the file again")
        row = dict(zip(header, values, strict=True))
        _raise_value_fault(where, row)
        for end in ENDS:
            _raise_node_fault(where, row, end, seen, first)
    if not seen:
        raise SourceError("the file holds a header but no edges", uri, "fetch the file again")


def _raise_value_fault(where: str, row: dict[str, str]) -> None:
    for column in COLUMNS:
        value, place = row[column], f"{where}, column {column}"
        if not value.isascii() and any("\udc80" <= letter <= "\udcff" for letter in value):
            shown = ascii(value.encode("utf-8", "surrogateescape"))[1:]
            raise SourceError(f"{shown} is not valid UTF-8", place, "save the file as UTF-8, or fetch it again")
        if "\n" in value:
            what = f"the value {_shorten(value)} holds a line break"
            raise SourceError(what, place, "close the quote, or remove the line break")
        if not value and column.endswith(("_index", "_name", "_type")):
            raise SourceError("the edge leads to nowhere: the value is empty", place, "name the node, or drop the line")
        if not value and column.endswith("relation"):
            raise SourceError("the edge has no relation: the value is empty", place, "name it, or drop the line")


def _raise_node_fault(
    where: str, row: dict[str, str], end: str, seen: dict[int, tuple[int, dict[str, str]]], line: int
) -> None:
    text, kind = row[f"{end}_index"], row[f"{end}_type"]
    if not (text.strip().isascii() and text.strip().isdigit() and int(text) <= MAX_INDEX):
        what = f"{_shorten(text)} is not a node index"
        raise SourceError(what, f"{where}, column {end}_index", f"allowed are integers from 0 to {MAX_INDEX}")
    if kind not in {member.value for member in NodeType}:
        what = f"{_shorten(kind)} is not a node type"
        raise SourceError(what, f"{where}, column {end}_type", f"allowed are {', '.join(NodeType)}")
    node = {part: row[f"{end}_{part}"] for part in ("name", "type")}
    earlier, known = seen.setdefault(int(text), (line, node))
    for part, value in node.items():
        if known[part] != value:
            what = f"node {text} is {_shorten(value)} here and {_shorten(known[part])} in line {earlier}"
            raise SourceError(what, f"{where}, column {end}_{part}", f"a node has one {part}: correct either line")


def _shorten(value: str, limit: int = 60) -> str:
    return repr(value if len(value) <= limit else f"{value[:limit]}…")
