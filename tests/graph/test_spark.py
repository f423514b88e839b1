"""The Spark session's plan, and what is said where there can be none."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyspark
import pytest

from benchmarks.s3_server import S3Server
from medreason_dist.config import (
    Config,
    GraphConfig,
    Lookup,
    NeighborhoodsEngine,
    SparkConfig,
    StorageConfig,
    load_config,
)
from medreason_dist.errors import ConfigError
from medreason_dist.graph.spark import open_engine
from medreason_dist.graph.spark.session import maven_coordinate, plan_conf, spark_uri, start_session
from medreason_dist.graph.store import GraphStore
from medreason_dist.storage import Folder
from tests.conftest import ROOT
from tests.graph.small import all_hops, plan, row, to_csv

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def test_the_coordinate_follows_spark() -> None:
    assert maven_coordinate("3.5.9") == "io.graphframes:graphframes-spark3_2.12:0.12.1"
    assert maven_coordinate("4.0.1") == "io.graphframes:graphframes-spark4_2.13:0.12.1"


def test_without_a_jar_it_comes_from_maven() -> None:
    assert plan_conf(SparkConfig(), StorageConfig())["spark.jars.packages"] == maven_coordinate(pyspark.__version__)
    packages = {"spark.jars.packages": "org.apache.hadoop:hadoop-aws:3.3.4"}
    both = plan_conf(SparkConfig(conf=packages), StorageConfig())["spark.jars.packages"]
    assert both == f"org.apache.hadoop:hadoop-aws:3.3.4,{maven_coordinate(pyspark.__version__)}"
    own = {"spark.jars.packages": "io.graphframes:graphframes-spark3_2.12:0.13.0"}
    assert plan_conf(SparkConfig(conf=own), StorageConfig())["spark.jars.packages"] == own["spark.jars.packages"]


def test_keys_from_the_command_line_arrive_nested(tmp_path: Path) -> None:
    (tmp_path / "a.jar").touch()
    pairs = ["spark.conf.spark.driver.memory=4g", "spark.conf.spark.ui.enabled=false", "spark.conf.spark.jars=b.jar"]
    config = load_config(Config, None, [*pairs, f"spark.graphframes_jar={tmp_path}/a.jar"])
    conf = plan_conf(config.spark, config.storage)
    assert (conf["spark.driver.memory"], conf["spark.ui.enabled"]) == ("4g", "false")
    assert conf["spark.jars"] == f"b.jar,{tmp_path}/a.jar"
    assert "spark.jars.packages" not in conf


def test_s3_is_s3a_at_the_same_endpoint(tmp_path: Path) -> None:
    encrypted = plan_conf(SparkConfig(), StorageConfig(sse="aws:kms", sse_kms_key_id="key"))
    assert encrypted["spark.hadoop.fs.s3a.encryption.algorithm"] == "SSE-KMS"
    assert encrypted["spark.hadoop.fs.s3a.encryption.key"] == "key"
    conf = plan_conf(SparkConfig(), StorageConfig("http://localhost:9000", "eu-west-1"))
    assert conf["spark.hadoop.fs.s3a.endpoint"] == "http://localhost:9000"
    assert conf["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "false"
    assert conf["spark.hadoop.fs.s3a.endpoint.region"] == "eu-west-1"
    assert spark_uri("s3://bucket/a/b") == "s3a://bucket/a/b"
    assert spark_uri(str(tmp_path)) == tmp_path.as_uri()
    assert spark_uri("a b").endswith("/a b")


def test_a_jar_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"graphframes_jar does not exist\n.*none\.jar"):
        plan_conf(SparkConfig(graphframes_jar="none.jar"), StorageConfig())


def test_no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"neighborhoods\.engine=local"):
        start_session(SparkConfig(), StorageConfig())


def test_spark_without_hadoop_aws_cannot_write_to_s3(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "kg.csv").write_bytes(to_csv([row((1, 2, "ppi", "ppi"))]))
    config = plan(tmp_path / "kg.csv", tmp_path, engine=NeighborhoodsEngine.spark)
    config = replace(config, graph=replace(config.graph, uri="s3://bucket/graph"))
    with pytest.raises(ConfigError, match=r"hadoop-aws[\s\S]*spark.jars.packages"), open_engine(config):
        pass


@pytest.mark.s3
def test_neighborhoods_on_s3(graphframes_jar: Path, s3: S3Server, shared: Path, tmp_path: Path) -> None:
    """In a process of its own, for its session needs other jars."""
    if not (jars := sorted((shared / "jars").glob("*.jar"))):
        pytest.skip(f"no hadoop-aws at {shared / 'jars'}")
    (tmp_path / "kg.csv").write_bytes(to_csv(row((n, n + 1, "ppi", "ppi")) for n in range(6)))
    uri = f"{s3.new_bucket()}/graph"
    conf = {
        "spark.jars": ",".join(map(str, jars)),
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.host": "127.0.0.1",
    }
    command = [
        *(sys.executable, "jobs/build_neighborhoods.py", f"graph.source={tmp_path}/kg.csv", f"graph.uri={uri}"),
        *("neighborhoods.engine=spark", "neighborhoods.expand=messages", "neighborhoods.buckets=2"),
        *("spark.master=local[2]", f"spark.graphframes_jar={graphframes_jar}"),
        *(f"storage.endpoint_url={s3.endpoint_url}", f"storage.region={s3.storage.region}"),
        *(f"spark.conf.{key}={value}" for key, value in conf.items()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    for lookup in Lookup:
        store = GraphStore.open(GraphConfig(uri=uri, lookup=lookup), s3.storage)
        assert [hop.tolist() for hop in all_hops(store, 2)] == [[2], [1, 3], [0, 4]]
    assert Folder(uri, s3.storage).child("neighborhoods").names(".parquet")
