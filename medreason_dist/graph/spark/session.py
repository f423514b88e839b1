"""The Spark session: the running one or a new one, its properties, what it needs to have, and a graph's tables."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyspark
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark import SparkConf
from pyspark.errors import PySparkException, PySparkRuntimeError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medreason_dist.config import Config, SparkConfig, StorageConfig, leaves
from medreason_dist.errors import ConfigError
from medreason_dist.storage import Folder

GRAPHFRAMES_VERSION: Final = "0.12.1"
WITHOUT_JAVA: Final = "install Java 17 and set JAVA_HOME, or set neighborhoods.engine=local"
DEFAULTS: Final = {
    # Rows a batch that a Python task is given: at Spark's 10,000 the csv's blocks repeat nodes three times as often.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "32768",
    # toPandas by Arrow.
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}


@contextlib.contextmanager
def open_session(config: Config) -> Iterator[SparkSession]:
    """Yields the running Spark session, or a new one that ends with the context.

    Raises :class:`ConfigError` where Java is missing, the GraphFrames jar does not exist, Spark does not start, it has
    no classes of GraphFrames or, for ``s3://``, of hadoop-aws, or a task finds no Python or not the packages it needs.
    """
    running = SparkSession.getActiveSession()
    session = running or start_session(config.spark, config.storage)
    try:
        _require_classes(session, s3=any(uri.startswith("s3://") for uri in (config.graph.uri, config.graph.source)))
        yield session
    except (Py4JJavaError, PySparkException) as error:
        if told := explain_executors(str(error)):
            raise told from error
        raise
    finally:
        if running is None:
            session.stop()


def start_session(config: SparkConfig, storage: StorageConfig) -> SparkSession:
    """Returns a new Spark session with GraphFrames; raises :class:`ConfigError` where it cannot start."""
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise ConfigError("Spark needs Java, and there is none", "JAVA_HOME and PATH", WITHOUT_JAVA)
    if not is_submitted() and (config.master or "local").startswith("local"):
        # Spark starts its Python workers as python3 from PATH, which need not be the environment that runs this.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("medreason_dist")
    if config.master:
        builder = builder.master(config.master)
    submitted = dict(SparkConf().getAll()) if is_submitted() else None
    for key, value in plan_conf(config, storage, submitted).items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except PySparkRuntimeError as error:
        # The JVM ends during start-up where Java is broken or Maven cannot be reached; why stands in its own output.
        remedy = f"see the lines above; without Maven set spark.graphframes_jar, without Java: {WITHOUT_JAVA}"
        raise ConfigError(f"Spark did not start: {error}", "spark", remedy) from error


def is_submitted() -> bool:
    """Returns whether spark-submit started this process, whose JVM runs already: it has its jars and gets no others."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _require_classes(session: SparkSession, s3: bool) -> None:
    jvm = session.sparkContext._jvm
    coordinate = f"org.apache.hadoop:hadoop-aws:{jvm.org.apache.hadoop.util.VersionInfo.getVersion()}"
    remedy = "correct spark.graphframes_jar, or set it to null"
    if is_submitted():
        remedy = f"give spark-submit --jars, or --packages {maven_coordinate(pyspark.__version__)}"
    needed = [("org.graphframes.GraphFrame", "GraphFrames", remedy)]
    if s3:
        remedy = f"give spark-submit --packages {coordinate}"
        if not is_submitted():
            remedy = f"set spark.conf.spark.jars.packages={coordinate}"
        needed.append(("org.apache.hadoop.fs.s3a.S3AFileSystem", "hadoop-aws, which s3:// needs", remedy))
    for name, what, remedy in needed:
        try:
            jvm.Thread.currentThread().getContextClassLoader().loadClass(name)
        except Py4JJavaError as error:
            raise ConfigError(f"Spark has no {what}: there is no class {name}", "spark.jars", remedy) from error


def explain_executors(error: str) -> ConfigError | None:
    """Returns what a failed task says of the executors' Python, or None where that is not at fault."""
    used = f"PYSPARK_PYTHON={os.environ.get('PYSPARK_PYTHON', '')}"
    pack = "scripts/pack_environment spark; spark-submit --archives spark.tar.gz#environment"
    if missing := re.search(r"ModuleNotFoundError: No module named '([^']+)'", error):
        package = missing[1].partition(".")[0]
        remedy = pack if package != "medreason_dist" else "spark-submit --py-files medreason_dist.zip"
        return ConfigError(f"the executors' Python has no {package}", used, f"{remedy} (docs/graph.md)")
    if missing := re.search(r'Cannot run program "([^"]+)"', error):
        return ConfigError(f"the executors have no Python at {missing[1]}", used, f"{pack} (docs/graph.md)")
    if versions := re.search(r"different version:? \(?([^)]+?)\)? than that in driver:? (\d+\.\d+)", error):
        what = f"the executors' Python is {versions[1].replace(', ', '.')}, the driver's {versions[2]}"
        return ConfigError(what, used, "give both the same: PYSPARK_PYTHON and PYSPARK_DRIVER_PYTHON (docs/graph.md)")
    return None


def plan_conf(config: SparkConfig, storage: StorageConfig, submitted: dict[str, str] | None = None) -> dict[str, str]:
    """Returns the Spark properties of a session: ours, and over them those of ``spark.conf``.

    Jars and packages are added to, not replaced. Of the properties that spark-submit has set, where there is one, ours
    replace none, and jars are its own. Raises :class:`ConfigError` for a jar file that does not exist.
    """
    conf = DEFAULTS | _plan_s3a(storage)
    if (config.master or "").startswith("local"):
        # Spark's 200 are made for clusters: two cores spend most of a small shuffle on starting its tasks.
        conf["spark.sql.shuffle.partitions"] = str(4 * (os.cpu_count() or 1))
    conf = {key: value for key, value in conf.items() if key not in (submitted or {})}
    conf |= {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in leaves(config.conf)}
    if submitted is not None:
        return conf
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


def spark_uri(uri: str) -> str:
    """Returns a path or URI as Hadoop's file systems spell it: s3:// is theirs only on EMR, s3a:// everywhere."""
    if uri.startswith("s3://"):
        return f"s3a://{uri.removeprefix('s3://')}"
    # Not Path.as_uri: Hadoop takes a %20 for what it says.
    return uri if "://" in uri else f"file://{Path(uri).absolute()}"


def read_nodes(session: SparkSession, folder: Folder) -> DataFrame:
    """Returns the nodes of a graph folder as GraphFrames wants them: one column ``id``."""
    return session.read.parquet(spark_uri(f"{folder.uri}/nodes")).select(F.col("node_index").alias("id"))


def read_edges(session: SparkSession, folder: Folder) -> DataFrame:
    """Returns the edges of a graph folder; see :data:`~medreason_dist.schemas.EDGES`."""
    return session.read.parquet(spark_uri(f"{folder.uri}/edges"))


def _plan_s3a(storage: StorageConfig) -> dict[str, str]:
    conf = {}
    if storage.region:
        conf["spark.hadoop.fs.s3a.endpoint.region"] = storage.region
    if storage.sse:
        conf["spark.hadoop.fs.s3a.encryption.algorithm"] = {"aws:kms": "SSE-KMS"}.get(storage.sse, storage.sse)
    if storage.sse_kms_key_id:
        conf["spark.hadoop.fs.s3a.encryption.key"] = storage.sse_kms_key_id
    if storage.endpoint_url:
        conf["spark.hadoop.fs.s3a.endpoint"] = storage.endpoint_url
        conf["spark.hadoop.fs.s3a.path.style.access"] = "true"
        conf["spark.hadoop.fs.s3a.connection.ssl.enabled"] = str(storage.endpoint_url.startswith("https")).lower()
    return conf


def _append(conf: dict[str, str], key: str, value: str) -> dict[str, str]:
    return conf | {key: ",".join(filter(None, [conf.get(key, ""), value]))}
