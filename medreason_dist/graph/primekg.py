"""PrimeKG's ``kg.csv`` → tables of nodes and edges, column by column, in blocks.

Sound files never meet a Python loop over rows. Where a block does not hold what it should,
:func:`~medreason_dist.graph.wrong_rows.find_wrong_rows` reads the file once more, line by line, to say which rows are
wrong; where ``graph.wrong_rows_limit`` allows that many, the rest is parsed without them. Spark's tasks parse their
blocks by the same :func:`parse_block`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from medreason_dist.errors import SourceError
from medreason_dist.graph.adjacency import find_positions
from medreason_dist.graph.source import COLUMNS, ENDS, NODE_PARTS, Source, map_file
from medreason_dist.graph.wrong_rows import WrongRow, find_wrong_rows, iterate_sound_lines
from medreason_dist.schemas import EDGES, NODES, NodeType

BLOCK_BYTES: Final = 16 * 1024**2
CSV_TYPES: Final = {name: pa.int32() if name.endswith("_index") else pa.string() for name in COLUMNS}
CONVERT: Final = pacsv.ConvertOptions(include_columns=list(COLUMNS), column_types=CSV_TYPES)


class KnowledgeGraph(NamedTuple):
    """The parsed graph."""

    nodes: pa.Table
    """:data:`~medreason_dist.schemas.NODES`."""
    edges: pa.Table
    """:data:`~medreason_dist.schemas.EDGES`."""
    counts: dict[str, int]
    """rows_read = wrong_rows + self_loops + duplicates + rows kept; edges = rows kept + reversed_added."""
    wrong_rows: list[WrongRow]
    """Those that were left out."""


class Block(NamedTuple):
    """Some rows of the csv."""

    src: NDArray[np.int32]
    dst: NDArray[np.int32]
    kind: NDArray[np.int32]
    """For each row, which of ``kinds`` it is."""
    kinds: list[tuple[str, str]]
    """Distinct (relation, display_relation)."""
    nodes: pa.Table
    """Distinct nodes, with the columns :data:`~medreason_dist.graph.source.NODE_PARTS`."""


class Unsound(Exception):
    """A block, or all of them together, holds something that no kg.csv may hold."""


def parse_source(source: Source, wrong_rows_limit: int = 0) -> KnowledgeGraph:
    """Returns nodes and edges: symmetrised, sorted, without self loops, duplicates and wrong rows, which are counted.

    A node is its ``node_index``. Rows that give the same node another id or source (some leave it empty) do not
    contradict each other: the greatest value is kept. Another name or type is a contradiction.

    Raises :class:`SourceError` naming line, column and value where more than ``wrong_rows_limit`` rows are wrong, and
    for a missing column, a cut-off gzip, or no rows at all.
    """
    try:
        return _parse(source.content, source.is_gzip, [])
    except (Unsound, pa.ArrowException, OSError) as error:
        wrong = require_wrong_rows(source, wrong_rows_limit, error)
    with tempfile.TemporaryFile() as file:
        file.writelines(iterate_sound_lines(source, wrong))
        content = map_file(file)
    try:
        return _parse(content, False, wrong)
    except (Unsound, pa.ArrowException) as error:
        raise _unreadable(source, error) from error


def require_wrong_rows(source: Source, limit: int, error: Exception) -> list[WrongRow]:
    """Returns the wrong rows for which ``error`` was raised, at least one; raises :class:`SourceError` otherwise."""
    wrong = find_wrong_rows(source, limit)
    if not wrong:
        raise _unreadable(source, error) from error
    return wrong


def parse_block(batch: pa.RecordBatch | pa.Table) -> Block:
    """Returns some rows of a csv that was read by :data:`CONVERT`; raises :class:`Unsound` for a value that is wrong."""
    ends = [_distinct_nodes(batch, end) for end in ENDS]
    kind, kinds = _number_kinds(batch)
    src, dst = (batch[f"{end}_index"].to_numpy() for end in ENDS)
    return Block(src, dst, kind, kinds, _distinct(pa.concat_tables(ends)))


def merge_nodes(nodes: pa.Table) -> pa.Table:
    """Returns one row for each node of a table with NODE_PARTS, sorted by index.

    Raises :class:`Unsound` for a node that has two names or types.
    """
    merged = nodes.group_by(["index", "type", "name"]).aggregate([("id", "max"), ("source", "max")])
    merged = merged.rename_columns({"id_max": "id", "source_max": "source"}).sort_by("index").combine_chunks()
    _require(pc.count_distinct(merged["index"]).as_py() == merged.num_rows)
    return merged


def edge_keys(
    nodes: pa.Table, src: NDArray[np.int32], dst: NDArray[np.int32], kind: NDArray[np.int32], kinds: int
) -> NDArray[np.int64]:
    """Returns one number an edge, ordered as (src, dst, kind): sorting them sorts and deduplicates the edges at once.

    ``nodes`` are sorted by index; ``kind`` is in [0, ``kinds``).
    """
    index = nodes["index"].to_numpy()
    left, right = (find_positions(index, end)[0].astype(np.int64) for end in (src, dst))
    return (left * len(index) + right) * kinds + kind


def build_graph(
    nodes: pa.Table,
    keys: NDArray[np.int64],
    kinds: Sequence[tuple[str, str]],
    counts: dict[str, int],
    wrong: list[WrongRow],
) -> KnowledgeGraph:
    """Returns the graph of :func:`merge_nodes` and of the :func:`edge_keys` of its edges, each in one direction at least.

    A kind is an index into ``kinds``, (relation, display_relation), which is sorted.
    """
    node_index = nodes["index"].to_numpy()
    count = len(node_index)
    pair, kind = np.divmod(keys, len(kinds))
    keys = np.concatenate([keys, (pair % count * count + pair // count) * len(kinds) + kind])
    keys.sort()
    keys = keys[np.diff(keys, prepend=-1) > 0]
    pair, kind = keys // len(kinds), (keys % len(kinds)).astype(np.int32)
    neighbors = pair[np.diff(pair, prepend=-1) > 0] // count
    edges = {
        "src": pa.array(node_index[pair // count]),
        "dst": pa.array(node_index[pair % count]),
        "relation": _decode(kind, [relation for relation, _ in kinds]),
        "display_relation": _decode(kind, [display for _, display in kinds]),
    }
    columns = {
        "node_index": nodes["index"],
        "node_id": nodes["id"],
        "node_type": nodes["type"],
        "node_name": nodes["name"],
        "node_source": nodes["source"],
        "degree": pa.array(np.bincount(neighbors, minlength=count).astype(np.int32)),
    }
    kept = counts["rows_read"] - counts["self_loops"] - counts["duplicates"]
    counts = {
        **counts,
        "rows_read": counts["rows_read"] + len(wrong),
        "wrong_rows": len(wrong),
        "reversed_added": len(keys) - kept,
        "edges": len(keys),
        "nodes": count,
    }
    return KnowledgeGraph(pa.table(columns, schema=NODES), pa.table(edges, schema=EDGES), counts, wrong)


def _parse(content: Any, is_gzip: bool, wrong: list[WrongRow]) -> KnowledgeGraph:
    blocks, numbers = [], dict[tuple[str, str], int]()
    for batch in _read_batches(content, is_gzip):
        block = parse_block(batch)
        number = [numbers.setdefault(kind, len(numbers)) for kind in block.kinds]
        blocks.append(block._replace(kind=np.array(number, dtype=np.int32)[block.kind], kinds=[]))
    _require(bool(blocks))
    nodes = merge_nodes(pa.concat_tables([block.nodes for block in blocks]))
    kinds = sorted(numbers)
    rank = np.empty(len(kinds), dtype=np.int32)
    rank[[numbers[kind] for kind in kinds]] = np.arange(len(kinds))
    src, dst, kind = (np.concatenate([block[column] for block in blocks]) for column in range(3))
    del blocks
    rows = len(src)
    proper = src != dst
    src, dst, kind = src[proper], dst[proper], rank[kind[proper]]
    keys = np.unique(edge_keys(nodes, src, dst, kind, len(kinds)))
    counts = {"rows_read": rows, "self_loops": rows - len(src), "duplicates": len(src) - len(keys)}
    return build_graph(nodes, keys, kinds, counts, wrong)


def _read_batches(content: Any, is_gzip: bool) -> Iterator[Any]:
    stream = pa.BufferReader(content)
    if is_gzip:
        stream = pa.CompressedInputStream(stream, "gzip")
    read = pacsv.ReadOptions(block_size=BLOCK_BYTES)
    with pacsv.open_csv(stream, read_options=read, convert_options=CONVERT) as reader:
        yield from reader


def _distinct_nodes(batch: Any, end: str) -> pa.Table:
    nodes = _distinct(pa.table({part: batch[f"{end}_{part}"] for part in NODE_PARTS}))
    _require(nodes["index"].null_count == 0)
    _require(pc.min(nodes["index"]).as_py() is None or pc.min(nodes["index"]).as_py() >= 0)
    _require(pc.all(pc.is_in(nodes["type"], pa.array([*NodeType], pa.string()))).as_py() is not False)
    _require(pc.any(pc.equal(nodes["name"], "")).as_py() is not True)
    for part in ("id", "name", "source"):
        _require(pc.any(pc.match_substring_regex(nodes[part], "[\r\n]")).as_py() is not True)
    return nodes


def _distinct(nodes: pa.Table) -> pa.Table:
    return nodes.group_by(list(NODE_PARTS)).aggregate([])


def _number_kinds(batch: Any) -> tuple[NDArray[np.int32], list[tuple[str, str]]]:
    """Returns each row's kind as an index, and the kinds."""
    relation, display = (_encode(batch[name]) for name in ("relation", "display_relation"))
    codes = relation.indices.to_numpy().astype(np.int64) * max(len(display.dictionary), 1) + display.indices.to_numpy()
    distinct, inverse = np.unique(codes, return_inverse=True)
    first, second = np.divmod(distinct, max(len(display.dictionary), 1))
    kinds = list(
        zip(relation.dictionary.take(first).to_pylist(), display.dictionary.take(second).to_pylist(), strict=True)
    )
    _require(all(text and not set(text) & {"\r", "\n"} for kind in kinds for text in kind))
    return inverse.astype(np.int32), kinds


def _encode(column: Any) -> Any:
    encoded = column.dictionary_encode()
    return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded


def _require(sound: bool) -> None:
    if not sound:
        raise Unsound


def _decode(codes: NDArray[np.integer[Any]], values: list[str]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(values, pa.string())).cast(pa.string())


def _unreadable(source: Source, error: Exception) -> SourceError:
    return SourceError(f"the file cannot be read as csv: {error}", source.uri, "fetch the file again")
