"""build_neighborhoods on a cluster: a real standalone master, a worker with two executors, S3, and a packed Python.

The driver runs in an empty folder, driver and executors by the packed Python: nothing of the checkout is on their path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import boto3
import psutil
import pyspark
import pytest
from pyspark.errors import PySparkRuntimeError

from benchmarks.s3_server import S3Server, await_health, free_ports
from medreason_dist.config import SparkConfig, StorageConfig
from medreason_dist.graph.neighborhoods import build_neighborhoods
from medreason_dist.graph.spark.session import explain_executors, plan_conf
from medreason_dist.storage import Folder
from tests.conftest import ROOT
from tests.graph.small import plan, read_rows

pytestmark = [pytest.mark.spark, pytest.mark.s3, pytest.mark.slow]

SPARK = Path(pyspark.__file__).parent
KG = ROOT / "examples" / "quickstart" / "kg.csv"


@dataclass(frozen=True)
class Cluster:
    """A master with its worker, and what a machine that submits to it has at hand."""

    master: str
    storage: S3Server
    packed: Path
    """What scripts/pack_environment wrote."""
    python: Path
    """The packed Python, unpacked for a driver in client mode."""
    graphframes: Path
    hadoop_aws: list[Path]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What scripts/pack_environment writes, of the Python below this one."""
    folder = tmp_path_factory.mktemp("packed")
    environment = os.environ | {"PYTHON": str(Path(sys.executable).resolve())}
    command = ["scripts/pack_environment", "spark", "-o", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if "there is no uv" in done.stderr:
        pytest.skip("no uv: pip install uv")
    if "client error (Connect)" in done.stderr:
        pytest.skip("no package index within reach, from which to pack an environment")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def cluster(
    packed: Path, graphframes_jar: Path, s3: S3Server, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A master and a worker of two cores. Its executors find S3's credentials as on machines with a role."""
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        pytest.skip("no Java: install Java 17 or set JAVA_HOME")
    if not (jars := sorted((shared / "jars").glob("*.jar"))):
        pytest.skip(f"no hadoop-aws at {shared / 'jars'}")
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "environment").mkdir()
    subprocess.run(["tar", "-xzf", packed / "spark.tar.gz", "-C", folder / "environment"], check=True)
    port, board, other = free_ports(3)
    master = f"spark://127.0.0.1:{port}"
    commands = {
        "master.Master": ["--host", "127.0.0.1", "--port", str(port), "--webui-port", str(board)],
        "worker.Worker": [
            *("--host", "127.0.0.1", "--webui-port", str(other), "--cores", "2", "--memory", "2g"),
            *("--work-dir", str(folder / "work"), master),
        ],
    }
    with ExitStack() as running:
        for (name, arguments), web in zip(commands.items(), (board, other), strict=True):
            log = folder / name
            output = running.enter_context(log.open("wb"))
            command = [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *arguments]
            process = psutil.Popen(command, cwd=folder, env=bare_environment(), stdout=output, stderr=output)
            running.callback(end, process)
            await_health(process, f"http://127.0.0.1:{web}/json/", log, seconds=120)
        yield Cluster(master, s3, packed, folder / "environment" / "bin" / "python", graphframes_jar, jars)


def end(process: psutil.Popen) -> None:
    """Kills a process and all below it."""
    for each in [*process.children(recursive=True), process]:
        each.kill()
    process.wait()


def bare_environment(**variables: str) -> dict[str, str]:
    """An environment in which no Python finds this one's packages."""
    kept = ("HOME", "JAVA_HOME", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED")
    path = os.pathsep.join([str(Path(shutil.which("java") or "/").parent), "/usr/bin", "/bin"])
    found = {name: os.environ[name] for name in kept if name in os.environ}
    return {"PATH": path, "SPARK_HOME": str(SPARK), "SPARK_LOCAL_IP": "127.0.0.1"} | found | variables


def submit(*arguments: str | Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs spark-submit in a folder."""
    conf = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.executor.cores": "1",
        "spark.executor.memory": "600m",
        "spark.sql.shuffle.partitions": "2",
        # Short jobs: what the second compiler saves comes too late.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }
    command = [SPARK / "bin" / "spark-submit", *(f"--conf={key}={value}" for key, value in conf.items()), *arguments]
    environment = bare_environment(**variables)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def new_graph(s3: S3Server) -> str:
    """A bucket with the quickstart's csv; returns where its graph belongs."""
    bucket = s3.new_bucket()
    Folder(bucket, s3.storage).write("kg.csv", KG.read_bytes())
    return f"{bucket}/graph"


def keys(cluster: Cluster, graph: str) -> list[str]:
    """The job's KEY=VALUE pairs."""
    storage = cluster.storage.storage
    return [
        *(f"graph.source={graph.removesuffix('graph')}kg.csv", f"graph.uri={graph}", "neighborhoods.engine=spark"),
        *(
            "neighborhoods.buckets=4",
            f"storage.endpoint_url={storage.endpoint_url}",
            f"storage.region={storage.region}",
        ),
    ]


def require_same(graph: str, s3: S3Server, tmp_path: Path) -> None:
    build_neighborhoods(plan(KG, tmp_path / "local"))
    assert read_rows(graph, s3.storage) == read_rows(tmp_path / "local")


def test_client_mode(cluster: Cluster, tmp_path: Path) -> None:
    """The driver here, with the YAML beside it; package and environment go to the executors from here."""
    graph = new_graph(cluster.storage)
    shutil.copy(ROOT / "jobs" / "build_neighborhoods.py", tmp_path)
    (tmp_path / "graph.yaml").write_text("neighborhoods:\n  expand: broadcast\n", encoding="utf-8")
    done = submit(
        *("--master", cluster.master, "--deploy-mode", "client"),
        *("--py-files", cluster.packed / "medreason_dist.zip"),
        *("--archives", f"{cluster.packed / 'spark.tar.gz'}#environment"),
        *("--jars", ",".join(map(str, [cluster.graphframes, *cluster.hadoop_aws]))),
        *("build_neighborhoods.py", "--config", "graph.yaml", *keys(cluster, graph)),
        folder=tmp_path,
        PYSPARK_DRIVER_PYTHON=str(cluster.python),
        PYSPARK_PYTHON="./environment/bin/python",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"built: {graph}" in done.stdout
    require_same(graph, cluster.storage, tmp_path)


def test_as_the_driver_of_cluster_mode(cluster: Cluster, tmp_path: Path) -> None:
    """What a driver's container on Kubernetes runs: all comes from S3 into an empty folder, as on EMR Serverless.

    The executors are the standalone cluster's. The properties are those of infra/terraform/modules/spark.
    """
    graph = new_graph(cluster.storage)
    bucket = graph.removesuffix("/graph")
    jobs = ROOT / "jobs"
    driver = tmp_path / "driver"
    driver.mkdir()
    config = tmp_path / "graph.yaml"
    config.write_text("neighborhoods:\n  expand: broadcast\n", encoding="utf-8")
    for file in (*cluster.packed.glob("*.tar.gz"), cluster.graphframes, jobs / "build_neighborhoods.py", config):
        upload(cluster.storage, file, bucket)
    remote = bucket.replace("s3://", "s3a://")
    image = os.pathsep.join(map(str, cluster.hadoop_aws))
    storage = cluster.storage.storage
    conf = {
        "spark.kubernetes.submitInDriver": "true",
        "spark.archives": f"{remote}/spark.tar.gz#environment,{remote}/project.tar.gz#project",
        "spark.jars": f"{remote}/{cluster.graphframes.name}",
        "spark.files": f"{remote}/graph.yaml",
        "spark.executorEnv.PYTHONPATH": "./project",
        "spark.cores.max": "1",
        # Part of EMR's image.
        "spark.driver.extraClassPath": image,
        "spark.executor.extraClassPath": image,
        # AWS has it by itself.
        "spark.hadoop.fs.s3a.endpoint": storage.endpoint_url,
        "spark.hadoop.fs.s3a.path.style.access": "true",
    }
    done = submit(
        *("--master", "k8s://https://127.0.0.1:1", "--deploy-mode", "client"),
        *(f"--conf={key}={value}" for key, value in conf.items()),
        *(f"{remote}/build_neighborhoods.py", "--config", "graph.yaml", *keys(cluster, graph)),
        f"spark.master={cluster.master}",
        folder=driver,
        PYSPARK_PYTHON="./environment/bin/python",
        PYTHONPATH="./project",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (driver / "project" / "configs" / "quickstart.yaml").is_file()
    require_same(graph, cluster.storage, tmp_path)


def upload(s3: S3Server, file: Path, bucket: str) -> None:
    """Copies a file to the top of a bucket."""
    client = boto3.client("s3", endpoint_url=s3.endpoint_url, region_name=s3.storage.region)
    client.upload_file(str(file), bucket.removeprefix("s3://"), file.name)
    client.close()


def test_standalone_has_no_cluster_mode_for_python(cluster: Cluster, tmp_path: Path) -> None:
    job = ROOT / "jobs" / "build_neighborhoods.py"
    done = submit("--master", cluster.master, "--deploy-mode", "cluster", job, folder=tmp_path)
    assert done.returncode == 1
    assert (
        "Cluster deploy mode is currently not supported for python applications on standalone clusters" in done.stderr
    )


def fail(cluster: Cluster, tmp_path: Path, *arguments: str | Path, **variables: str) -> str:
    """Returns what a build in client mode says that ends with exit code 2; its driver has all it needs."""
    job = ROOT / "jobs" / "build_neighborhoods.py"
    done = submit(
        *("--master", cluster.master, "--conf=spark.cores.max=1", *arguments, job),
        *(f"graph.source={KG}", f"graph.uri={tmp_path / 'graph'}", "neighborhoods.engine=spark"),
        folder=tmp_path,
        PYSPARK_DRIVER_PYTHON=str(cluster.python),
        **variables,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    # spark-submit writes both streams of a Python driver to its own output.
    assert "Traceback" not in done.stdout
    return done.stdout


def test_executors_without_the_package(cluster: Cluster, tmp_path: Path) -> None:
    said = fail(
        cluster, tmp_path, "--jars", cluster.graphframes, PYTHONPATH=str(ROOT), PYSPARK_PYTHON=str(cluster.python)
    )
    assert "error: the executors' Python has no medreason_dist\n" in said
    assert "--py-files medreason_dist.zip" in said


def test_an_archive_without_python(cluster: Cluster, tmp_path: Path) -> None:
    said = fail(
        *(cluster, tmp_path, "--jars", cluster.graphframes, "--py-files", cluster.packed / "medreason_dist.zip"),
        *("--archives", f"{cluster.packed / 'project.tar.gz'}#environment"),
        PYSPARK_PYTHON="./environment/bin/python",
    )
    assert "error: the executors have no Python at ./environment/bin/python\n" in said
    assert "scripts/pack_environment spark" in said


def test_submitted_without_graphframes(cluster: Cluster, tmp_path: Path) -> None:
    """The JVM runs already: what the job's own keys name would come too late."""
    said = fail(cluster, tmp_path, "--master", "local[1]", "--py-files", cluster.packed / "medreason_dist.zip")
    assert "error: Spark has no GraphFrames" in said
    assert "give spark-submit --jars, or --packages io.graphframes:graphframes-spark3_2.12" in said


def test_what_a_failed_task_says() -> None:
    """As Spark 3.5 words it; the first line of each was seen on the cluster."""
    told = explain_executors("...\nModuleNotFoundError: No module named 'omegaconf.errors'\n")
    assert str(told).startswith("the executors' Python has no omegaconf\n")
    versions = {"worker_version": "(3, 10)", "driver_version": "3.11"}
    error = PySparkRuntimeError(error_class="PYTHON_VERSION_MISMATCH", message_parameters=versions)
    assert str(explain_executors(str(error))).startswith("the executors' Python is 3.10, the driver's 3.11\n")
    assert explain_executors("java.lang.OutOfMemoryError: Java heap space") is None


def test_properties_of_spark_submit_stay() -> None:
    """Ours replace none of them; the job's own keys do."""
    given = {"spark.jars": "a.jar", "spark.sql.execution.arrow.maxRecordsPerBatch": "7", "spark.executor.memory": "1g"}
    conf = plan_conf(SparkConfig(conf={"spark.executor.memory": "2g"}), StorageConfig(region="eu-west-1"), given)
    assert not {"spark.jars", "spark.jars.packages", "spark.sql.execution.arrow.maxRecordsPerBatch"} & conf.keys()
    assert conf["spark.executor.memory"] == "2g"
    assert conf["spark.hadoop.fs.s3a.endpoint.region"] == "eu-west-1"
