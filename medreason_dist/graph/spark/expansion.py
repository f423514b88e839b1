"""Nodes and edges → neighborhoods by Spark.

``expand=broadcast`` runs the numeric kernel in every task on a broadcast adjacency; ``expand=messages`` lets
GraphFrames carry, hop by hop, the seeds that reached each node. Both write the same rows.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from functools import reduce

import numpy as np
import pyarrow as pa
from graphframes import GraphFrame
from graphframes.lib import AggregateMessages
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from medreason_dist.config import Config, Expand
from medreason_dist.graph.adjacency import Adjacency
from medreason_dist.graph.buckets import split_by_bucket, write_bucket
from medreason_dist.graph.spark.session import read_edges, read_nodes, spark_uri
from medreason_dist.storage import Folder


def expand(
    session: SparkSession, config: Config, adjacency: Adjacency, seeds: NDArray[np.intp], folder: Folder
) -> dict[int, int]:
    """Writes the neighborhoods of ``seeds`` (positions) into ``neighborhoods/bucket=<n>/`` of the graph's ``folder``.

    ``expand=messages`` reads ``nodes/`` and ``edges/`` from there. Returns the number of nodes in all rows, by hop.
    """
    if config.neighborhoods.expand is Expand.broadcast:
        return _expand_broadcast(session, config, adjacency, seeds, folder)
    with contextlib.ExitStack() as cached:
        rows = _expand_messages(session, folder, adjacency, seeds, config.neighborhoods.radius, cached)
        return _write(rows, folder.child("neighborhoods"), config.neighborhoods.radius, config.neighborhoods.buckets)


# expand=broadcast --------------------------------------------------------------------------------------------------


def _expand_broadcast(
    session: SparkSession, config: Config, adjacency: Adjacency, seeds: NDArray[np.intp], folder: Folder
) -> dict[int, int]:
    """Every task writes a bucket. At PrimeKG's size Spark's own writer took 1.7 times the bare kernel, pyarrow's 1.2."""
    radius, buckets = config.neighborhoods.radius, config.neighborhoods.buckets
    broadcast = session.sparkContext.broadcast((adjacency, split_by_bucket(adjacency, seeds, buckets)))

    def write_buckets(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        adjacency, by_bucket = broadcast.value
        for bucket in itertools.chain.from_iterable(batch["id"].to_pylist() for batch in batches):
            if bucket in by_bucket:
                entries = write_bucket(folder, adjacency, radius, bucket, by_bucket[bucket])
                yield pa.record_batch({"hop": np.arange(1, radius + 1), "entries": entries})

    tasks = session.range(0, buckets, numPartitions=buckets).mapInArrow(write_buckets, "hop long, entries long")
    found = tasks.groupBy("hop").sum("entries").collect()
    broadcast.destroy()
    return dict(map(tuple, found))


# expand=messages ---------------------------------------------------------------------------------------------------


def _expand_messages(
    session: SparkSession,
    folder: Folder,
    adjacency: Adjacency,
    seeds: NDArray[np.intp],
    radius: int,
    cached: contextlib.ExitStack,
) -> DataFrame:
    """Returns the rows by GraphFrames' aggregateMessages: every node sends on the seeds that reached it last."""
    nodes, pairs = read_nodes(session, folder), _persist(_read_pairs(session, folder), cached)
    chosen = session.createDataFrame([(seed,) for seed in adjacency.node_index[seeds].tolist()], "seed int")
    numbered = [(number, held) for number, held in enumerate(adjacency.relation_sets)]
    sets = session.createDataFrame(numbered, "relations short, display_relation array<string>")
    relations = pairs.join(F.broadcast(sets), "display_relation").drop("display_relation")
    nobody = F.array().cast("array<int>")
    last = F.when(F.col("seed").isNotNull(), F.array("seed")).otherwise(nobody)
    vertices = nodes.join(chosen, F.col("id") == F.col("seed"), "left")
    vertices = vertices.select("id", last.alias("last"), nobody.alias("before"))
    hops = []
    for hop in range(1, radius + 1):
        vertices = _persist(_send(GraphFrame(vertices, pairs.select("src", "dst"))), cached)
        hops.append(_collect_hop(vertices, relations, hop))
    return reduce(DataFrame.unionByName, hops)


def _send(graph: GraphFrame) -> DataFrame:
    """Returns the vertices one hop on: ``last`` holds the seeds at exactly this distance, ``before`` those one nearer.

    In an undirected graph a neighbor of a node at distance d is at d - 1, d or d + 1, so that the last two hops are all
    that has to be taken away from what arrives.
    """
    arrived = graph.aggregateMessages(
        [F.array_distinct(F.flatten(F.collect_list(AggregateMessages.msg))).alias("arrived")],
        sendToDst=[F.when(F.size(AggregateMessages.src["last"]) > 0, AggregateMessages.src["last"])],
    )
    came = F.coalesce("arrived", F.array().cast("array<int>"))
    further = F.array_except(F.array_except(came, F.col("last")), F.col("before"))
    return graph.vertices.join(arrived, "id", "left").select("id", further.alias("last"), F.col("last").alias("before"))


def _collect_hop(vertices: DataFrame, relations: DataFrame, hop: int) -> DataFrame:
    pairs = vertices.select(F.explode("last").alias("seed"), F.col("id").alias("node"))
    if hop == 1:
        pairs = pairs.join(relations.withColumnsRenamed({"src": "seed", "dst": "node"}), ["seed", "node"])
        rows = pairs.groupBy("seed").agg(F.sort_array(F.collect_list(F.struct("node", "relations"))).alias("sorted"))
        nodes, sets = F.col("sorted.node"), F.col("sorted.relations")
    else:
        rows = pairs.groupBy("seed").agg(F.sort_array(F.collect_list("node")).alias("sorted"))
        nodes, sets = F.col("sorted"), F.lit(None).cast("array<short>")
    return rows.select("seed", F.lit(hop).cast("byte").alias("hop"), nodes.alias("nodes"), sets.alias("relations"))


def _read_pairs(session: SparkSession, folder: Folder) -> DataFrame:
    """Returns one row for each adjacent pair in both directions: src, dst, display_relation (sorted, distinct)."""
    pairs = read_edges(session, folder).groupBy("src", "dst")
    return pairs.agg(F.sort_array(F.collect_set("display_relation")).alias("display_relation"))


def _persist(frame: DataFrame, cached: contextlib.ExitStack) -> DataFrame:
    cached.callback(frame.unpersist)
    return frame.persist()


def _write(rows: DataFrame, folder: Folder, radius: int, buckets: int) -> dict[int, int]:
    """Writes the rows and returns how many nodes they hold at each hop, counted on the way."""
    seen = Observation()
    at_hop = [F.sum(F.when(F.col("hop") == hop, F.size("nodes"))).alias(str(hop)) for hop in range(1, radius + 1)]
    bucket = F.col("seed") % buckets
    writer = (
        rows.observe(seen, *at_hop)
        .withColumn("bucket", bucket)
        # One file a bucket, instead of one for each bucket and partition of the last shuffle.
        .repartition(buckets, "bucket")
        .sortWithinPartitions("bucket", "seed", "hop")
        .write.mode("overwrite")
        .partitionBy("bucket")
        .option("compression", "zstd")
        # Version 2 packs integers by their differences, unless it finds a dictionary first (see buckets.ENCODING).
        .option("parquet.writer.version", "PARQUET_2_0")
        .option("parquet.enable.dictionary", "false")
        .option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
    )
    writer.parquet(spark_uri(folder.uri))
    # A plan without rows, which Spark may shorten to nothing, observes nothing.
    return {hop: seen.get.get(str(hop)) or 0 for hop in range(1, radius + 1)}
