"""kg.csv → nodes and edges by Spark.

Lines become Arrow batches, which the tasks parse as the embedded engine does; Spark finds the distinct edges. What
reaches the driver is numbers, 11 bytes for two directions of an edge, and the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medreason_dist.config import Config
from medreason_dist.errors import SourceError
from medreason_dist.graph.primekg import (
    CONVERT,
    KnowledgeGraph,
    Unsound,
    build_graph,
    edge_keys,
    merge_nodes,
    parse_block,
    require_wrong_rows,
)
from medreason_dist.graph.source import NODE_PARTS, Source, iterate_lines
from medreason_dist.graph.spark.session import spark_uri
from medreason_dist.graph.wrong_rows import WrongRow, wrong_lines

NODE: Final = pa.struct({part: pa.int32() if part == "index" else pa.string() for part in NODE_PARTS})
PARSED: Final = pa.schema(
    {
        "src": pa.int32(),
        "dst": pa.int32(),
        "relation": pa.string(),
        "display_relation": pa.string(),
        "node": NODE,
        "unsound": pa.bool_(),
    }
)
"""What the tasks make of the lines: one row an edge, one for each distinct node of a batch, one where a batch is not
sound; the other columns of a row are null."""
PARSED_DDL: Final = (
    "src int, dst int, relation string, display_relation string, "
    "node struct<index int, id string, type string, name string, source string>, unsound boolean"
)


def parse(session: SparkSession, config: Config, source: Source) -> KnowledgeGraph:
    """Returns the graph of ``graph.source``, the same as :func:`~medreason_dist.graph.primekg.parse_source` does.

    Raises :class:`SourceError` where that does, and for a gzip whose name does not end in ``.gz``.
    """
    if source.is_gzip and not source.uri.endswith(".gz"):
        raise SourceError("Spark tells a gzip by its name", source.uri, "let the name end in .gz, or unpack the file")
    try:
        return _parse(session, source, [])
    except Unsound as error:
        wrong = require_wrong_rows(source, config.graph.wrong_rows_limit, error)
    try:
        return _parse(session, source, wrong)
    except Unsound as error:
        raise SourceError("the file cannot be read as csv", source.uri, "fetch the file again") from error


def _parse(session: SparkSession, source: Source, wrong: list[WrongRow]) -> KnowledgeGraph:
    header = next(iterate_lines(source), "").rstrip("\r\n")
    lines = _leave_out(_read_lines(session, source, header), wrong).select(F.col("value").cast("binary"))
    parsed = lines.mapInArrow(partial(_parse_lines, header.encode()), PARSED_DDL)
    # Read twice below; on disk, for the heap may be smaller than the file.
    parsed = parsed.persist(StorageLevel.DISK_ONLY)
    try:
        return _collect(parsed, wrong)
    finally:
        parsed.unpersist()


def _read_lines(session: SparkSession, source: Source, header: str) -> DataFrame:
    """Returns ``value`` and ``id``, a partition's number times 2^33 plus the place there, of all but the first line."""
    lines = session.read.text(spark_uri(source.uri)).withColumn("id", F.monotonically_increasing_id())
    return lines.where((F.col("id") != 0) | ~F.col("value").isin(header, f"\ufeff{header}"))


def _leave_out(lines: DataFrame, wrong: list[WrongRow]) -> DataFrame:
    if not wrong:
        return lines
    # Partitions follow the file.
    sizes = lines.groupBy(F.shiftright("id", 33).alias("partition")).count().sort("partition").collect()
    starts = np.cumsum([1, *(size["count"] for size in sizes)])
    numbers = np.array(sorted(wrong_lines(wrong)), dtype=np.int64) - 1
    first = np.searchsorted(starts, numbers, side="right") - 1
    partitions = np.array([size["partition"] for size in sizes], dtype=np.int64)
    ids = (partitions[first] << 33) + numbers - np.where(first > 0, starts[first], 0)
    return lines.where(~F.col("id").isin(ids.tolist()))


def _parse_lines(header: bytes, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        lines = pa.ListArray.from_arrays([0, len(batch)], batch["value"])
        text = pa.compute.binary_join(lines, b"\n")[0].as_buffer() if len(batch) else b""
        try:
            rows = pacsv.read_csv(pa.BufferReader(header + b"\n" + bytes(text) + b"\n"), convert_options=CONVERT)
            block = parse_block(rows.combine_chunks())
        except (Unsound, pa.ArrowException):
            yield _to_batch(1, unsound=pa.array([True]))
            continue
        relation, display = (pa.array([kind[part] for kind in block.kinds], pa.string()) for part in (0, 1))
        kind = pa.array(block.kind)
        edges = {
            "src": block.src,
            "dst": block.dst,
            "relation": relation.take(kind),
            "display_relation": display.take(kind),
        }
        yield _to_batch(len(kind), **{name: pa.array(column) for name, column in edges.items()})
        nodes = block.nodes.combine_chunks().to_struct_array()
        yield _to_batch(len(nodes), node=nodes.combine_chunks() if isinstance(nodes, pa.ChunkedArray) else nodes)


def _to_batch(rows: int, **columns: Any) -> pa.RecordBatch:
    arrays = [columns.get(field.name, pa.nulls(rows, field.type)) for field in PARSED]
    return pa.record_batch(arrays, PARSED)


def _collect(parsed: DataFrame, wrong: list[WrongRow]) -> KnowledgeGraph:
    found = parsed.agg(
        F.count("src").alias("rows"),
        F.count("unsound").alias("unsound"),
        F.count_if(F.expr("src = dst")).alias("loops"),
    ).first()
    if found is None or found["unsound"] or not found["rows"]:
        raise Unsound
    nodes = parsed.where("node is not null").select("node.*").distinct().toPandas()
    edges = parsed.where("src <> dst")
    kinds = sorted(map(tuple, edges.select("relation", "display_relation").distinct().collect()))
    numbered = [(*kind, number) for number, kind in enumerate(kinds)]
    numbers = parsed.sparkSession.createDataFrame(numbered, "relation string, display_relation string, kind int")
    ascending = F.max(F.expr("src < dst")).cast("byte") + F.max(F.expr("src > dst")).cast("byte")
    pairs = (
        edges.join(F.broadcast(numbers), ["relation", "display_relation"])
        .groupBy(F.least("src", "dst").alias("src"), F.greatest("src", "dst").alias("dst"), "kind")
        .agg(ascending.alias("directions"))
        .toPandas()
    )
    distinct = int(pairs["directions"].sum())
    proper = found["rows"] - found["loops"]
    counts = {"rows_read": found["rows"], "self_loops": found["loops"], "duplicates": proper - distinct}
    table = pa.Table.from_pandas(nodes, pa.schema(list(NODE)), preserve_index=False)
    merged = merge_nodes(table)
    src, dst, kind = (pairs[name].to_numpy() for name in ("src", "dst", "kind"))
    return build_graph(merged, edge_keys(merged, src, dst, kind, len(kinds)), kinds, counts, wrong)
