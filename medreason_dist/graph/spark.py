"""``neighborhoods.engine=spark``: the neighborhoods, degrees and components by Spark and GraphFrames.

``expand=broadcast`` runs the numeric kernel in every task on a broadcast adjacency; ``expand=messages`` lets
GraphFrames carry, hop by hop, the seeds that reached each node. Both write the same rows. The only module that imports
pyspark and graphframes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from functools import partial, reduce
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyspark
from graphframes import GraphFrame
from graphframes.lib import AggregateMessages
from numpy.typing import NDArray
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from medreason_dist.config import Config, Expand, SparkConfig, StorageConfig, leaves
from medreason_dist.errors import ConfigError
from medreason_dist.graph.adjacency import Adjacency
from medreason_dist.graph.local import build_batches, split_by_bucket
from medreason_dist.storage import Folder

GRAPHFRAMES_VERSION: Final = "0.12.1"
ROWS: Final = "seed int, hop byte, nodes array<int>, relations array<short>"
WITHOUT_JAVA: Final = "install Java 17 and set JAVA_HOME, or set neighborhoods.engine=local"


@contextlib.contextmanager
def open_engine(config: Config, adjacency: Adjacency) -> Iterator[Any]:
    """Yields :func:`expand` on a Spark session: the running one, or a new one that ends with the context.

    Raises :class:`ConfigError` where the adjacency exceeds ``neighborhoods.broadcast_limit_bytes`` with
    ``expand=broadcast``, Java is missing, the GraphFrames jar does not exist, Spark does not start, or it has no
    classes of GraphFrames or, for ``s3://``, of hadoop-aws.
    """
    limit = config.neighborhoods.broadcast_limit_bytes
    if config.neighborhoods.expand is Expand.broadcast and adjacency.size_bytes > limit:
        raise ConfigError(
            f"the adjacency has {adjacency.size_bytes:,} bytes, which neighborhoods.expand=broadcast may not send",
            f"neighborhoods.broadcast_limit_bytes={limit}",
            "raise the limit, or set neighborhoods.expand=messages",
        )
    running = SparkSession.getActiveSession()
    session = running or start_session(config.spark, config.storage)
    try:
        _require_classes(session, Folder(config.graph.uri))
        yield partial(expand, session)
    finally:
        if running is None:
            session.stop()


def start_session(config: SparkConfig, storage: StorageConfig) -> SparkSession:
    """Returns a new Spark session with GraphFrames; raises :class:`ConfigError` where it cannot start."""
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise ConfigError("Spark needs Java, and there is none", "JAVA_HOME and PATH", WITHOUT_JAVA)
    if (config.master or "local").startswith("local"):
        # Spark starts its Python workers as python3 from PATH, which need not be the environment that runs this.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("medreason_dist")
    if config.master:
        builder = builder.master(config.master)
    for key, value in plan_conf(config, storage).items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except PySparkRuntimeError as error:
        # The JVM ends during start-up where Java is broken or Maven cannot be reached; why stands in its own output.
        remedy = f"see the lines above; without Maven set spark.graphframes_jar, without Java: {WITHOUT_JAVA}"
        raise ConfigError(f"Spark did not start: {error}", "spark", remedy) from error


def _require_classes(session: SparkSession, folder: Folder) -> None:
    jvm = session.sparkContext._jvm
    coordinate = f"org.apache.hadoop:hadoop-aws:{jvm.org.apache.hadoop.util.VersionInfo.getVersion()}"
    needed = [("org.graphframes.GraphFrame", "GraphFrames", "correct spark.graphframes_jar, or set it to null")]
    if folder.is_s3:
        remedy = f"set spark.conf.spark.jars.packages={coordinate}"
        needed.append(("org.apache.hadoop.fs.s3a.S3AFileSystem", "hadoop-aws, which s3:// needs", remedy))
    for name, what, remedy in needed:
        try:
            jvm.Thread.currentThread().getContextClassLoader().loadClass(name)
        except Py4JJavaError as error:
            raise ConfigError(f"Spark has no {what}: there is no class {name}", "spark.jars", remedy) from error


def plan_conf(config: SparkConfig, storage: StorageConfig) -> dict[str, str]:
    """Returns the Spark properties of a session: ours, and over them those of ``spark.conf``.

    Jars and packages are added to, not replaced. Raises :class:`ConfigError` for a jar file that does not exist.
    """
    conf = _plan_s3a(storage)
    conf |= {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in leaves(config.conf)}
    if (jar := config.graphframes_jar) is not None:
        if "://" not in jar and not Path(jar).is_file():
            remedy = "correct the path, or set spark.graphframes_jar=null to fetch it from Maven"
            raise ConfigError("spark.graphframes_jar does not exist", jar, remedy)
        return _append(conf, "spark.jars", jar)
    if "graphframes" in conf.get("spark.jars.packages", "") + conf.get("spark.jars", ""):
        return conf
    return _append(conf, "spark.jars.packages", maven_coordinate(pyspark.__version__))


def maven_coordinate(spark_version: str) -> str:
    """Returns the Maven coordinate of GraphFrames for a Spark version such as ``3.5.9``."""
    major = spark_version.partition(".")[0]
    scala = "2.12" if major == "3" else "2.13"
    return f"io.graphframes:graphframes-spark{major}_{scala}:{GRAPHFRAMES_VERSION}"


def expand(
    session: SparkSession, config: Config, adjacency: Adjacency, seeds: NDArray[np.intp], folder: Folder
) -> dict[str, Any]:
    """Writes the neighborhoods of ``seeds`` (positions) into ``neighborhoods/bucket=<n>/`` of the graph's ``folder``.

    Reads ``nodes/`` and ``edges/`` from there. For the manifest it returns ``entries_by_hop``, ``degree``,
    ``components``, ``expand`` and ``versions``.
    """
    settings = config.neighborhoods
    nodes, pairs = _read_nodes(session, folder).persist(), _read_pairs(session, folder).persist()
    if settings.expand is Expand.broadcast:
        rows = _expand_broadcast(session, adjacency, seeds, settings.radius, settings.buckets)
    else:
        rows = _expand_messages(session, nodes, pairs, adjacency, seeds, settings.radius)
        # One file a bucket, instead of one for each bucket and partition of the last shuffle.
        rows = rows.repartition(settings.buckets, _bucket(settings.buckets))
    entries = _write(rows, folder.child("neighborhoods"), settings.radius, settings.buckets)
    summary = _summarise(GraphFrame(nodes, pairs.select("src", "dst")), len(adjacency.node_index))
    nodes.unpersist(), pairs.unpersist()
    versions = {"pyspark": pyspark.__version__, "graphframes-py": version("graphframes-py")}
    return {"entries_by_hop": entries, "expand": settings.expand.value, "versions": versions} | summary


def _summarise(graph: GraphFrame, nodes: int) -> dict[str, Any]:
    """Returns degrees and connected components as GraphFrames counts them."""
    # Every edge stands in both directions, so that the in-degree is the number of neighbors.
    degree = graph.inDegrees.agg(F.max("inDegree").alias("max"), F.sum("inDegree").alias("sum")).first()
    # On the shared fragment of PrimeKG (61,052 pairs): 9 s by graphx, 46 s by the default algorithm.
    components = graph.connectedComponents(algorithm="graphx").groupBy("component").count()
    found = components.agg(F.count("*").alias("count"), F.max("count").alias("largest")).first()
    return {
        "degree": {"max": degree["max"] or 0, "mean": round((degree["sum"] or 0) / nodes, 3)},
        "components": {"count": found["count"], "largest": found["largest"]},
    }


# expand=broadcast --------------------------------------------------------------------------------------------------


def _expand_broadcast(
    session: SparkSession, adjacency: Adjacency, seeds: NDArray[np.intp], radius: int, buckets: int
) -> DataFrame:
    """Returns the rows, one partition a bucket: the tasks get the number of a bucket and look its seeds up."""
    broadcast = session.sparkContext.broadcast((adjacency, split_by_bucket(adjacency, seeds, buckets)))

    def expand_buckets(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        adjacency, by_bucket = broadcast.value
        for batch in batches:
            for bucket in batch["id"].to_pylist():
                yield from build_batches(adjacency, by_bucket.get(bucket, np.empty(0, dtype=np.intp)), radius)

    return session.range(0, buckets, numPartitions=buckets).mapInArrow(expand_buckets, ROWS)


# expand=messages ---------------------------------------------------------------------------------------------------


def _expand_messages(
    session: SparkSession,
    nodes: DataFrame,
    pairs: DataFrame,
    adjacency: Adjacency,
    seeds: NDArray[np.intp],
    radius: int,
) -> DataFrame:
    """Returns the rows by GraphFrames' aggregateMessages: every node sends on the seeds that reached it last."""
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
        vertices = _send(GraphFrame(vertices, pairs.select("src", "dst"))).persist()
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


# Both --------------------------------------------------------------------------------------------------------------


def _read_nodes(session: SparkSession, folder: Folder) -> DataFrame:
    return session.read.parquet(spark_uri(folder.child("nodes"))).select(F.col("node_index").alias("id"))


def _read_pairs(session: SparkSession, folder: Folder) -> DataFrame:
    """Returns one row for each adjacent pair in both directions: src, dst, display_relation (sorted, distinct)."""
    edges = session.read.parquet(spark_uri(folder.child("edges")))
    return edges.groupBy("src", "dst").agg(F.sort_array(F.collect_set("display_relation")).alias("display_relation"))


def _write(rows: DataFrame, folder: Folder, radius: int, buckets: int) -> dict[str, int]:
    """Writes the rows and returns how many nodes they hold at each hop, counted on the way."""
    seen = Observation()
    at_hop = [F.sum(F.when(F.col("hop") == hop, F.size("nodes"))).alias(str(hop)) for hop in range(1, radius + 1)]
    writer = (
        rows.observe(seen, *at_hop)
        .withColumn("bucket", _bucket(buckets))
        .sortWithinPartitions("bucket", "seed", "hop")
        .write.mode("overwrite")
        .partitionBy("bucket")
        .option("compression", "zstd")
        # Version 2 packs integers by their differences, unless it finds a dictionary first (see local.ENCODING).
        .option("parquet.writer.version", "PARQUET_2_0")
        .option("parquet.enable.dictionary", "false")
        .option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
    )
    writer.parquet(spark_uri(folder))
    return {hop: count or 0 for hop, count in seen.get.items()}


def _bucket(buckets: int) -> Column:
    return F.col("seed") % buckets


def spark_uri(folder: Folder) -> str:
    """Returns the folder as Hadoop's file systems spell it: s3:// is theirs only on EMR, s3a:// everywhere."""
    return f"s3a://{folder.uri.removeprefix('s3://')}" if folder.is_s3 else folder.path.absolute().as_uri()


def _plan_s3a(storage: StorageConfig) -> dict[str, str]:
    conf = {}
    if storage.region:
        conf["spark.hadoop.fs.s3a.endpoint.region"] = storage.region
    if storage.endpoint_url:
        conf["spark.hadoop.fs.s3a.endpoint"] = storage.endpoint_url
        conf["spark.hadoop.fs.s3a.path.style.access"] = "true"
        conf["spark.hadoop.fs.s3a.connection.ssl.enabled"] = str(storage.endpoint_url.startswith("https")).lower()
    return conf


def _append(conf: dict[str, str], key: str, value: str) -> dict[str, str]:
    return conf | {key: ",".join(filter(None, [conf.get(key, ""), value]))}
