"""Spark's processes killed in the middle of a build: real executors, a real driver."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from benchmarks.chaos import started
from benchmarks.primekg_like import write_kg
from medreason_dist.graph.neighborhoods import build_neighborhoods
from medreason_dist.storage import MANIFEST
from tests.conftest import ROOT
from tests.graph.small import plan, read_rows

pytestmark = pytest.mark.spark

BUCKETS = 128


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kg") / "kg.csv"
    write_kg(path, 0.05)
    return path


def command(source: Path, graph: Path, jar: Path, master: str) -> list[str]:
    conf = {"ui.enabled": "false", "driver.host": "127.0.0.1", "driver.memory": "1g", "executor.memory": "1g"}
    return [
        *(
            sys.executable,
            "jobs/build_neighborhoods.py",
            "neighborhoods.engine=spark",
            f"neighborhoods.buckets={BUCKETS}",
        ),
        *(f"graph.source={source}", f"graph.uri={graph}", f"spark.master={master}", f"spark.graphframes_jar={jar}"),
        *(f"spark.conf.spark.{key}={value}" for key, value in conf.items()),
    ]


def await_first_bucket(process: psutil.Popen, graph: Path) -> None:
    """Waits until a task has written into the neighborhoods, of which the others are not there yet."""
    while not list(graph.glob("neighborhoods/bucket=*/*.parquet")):
        assert process.poll() is None
        time.sleep(0.02)


def children(process: psutil.Popen, name: str) -> list[psutil.Process]:
    """The processes below one whose command line holds ``name``."""
    return [child for child in process.children(recursive=True) if name in command_line(child)]


def command_line(process: psutil.Process) -> str:
    """A process's command line; empty for one that has just ended."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def require_same(graph: Path, source: Path, tmp_path: Path) -> None:
    build_neighborhoods(plan(source, tmp_path / "local", buckets=BUCKETS, processes=2))
    assert read_rows(graph) == read_rows(tmp_path / "local")


def test_an_executor_is_killed(graphframes_jar: Path, source: Path, tmp_path: Path) -> None:
    """Spark runs its tasks again on another: the build completes."""
    graph, log = tmp_path / "graph", tmp_path / "log"
    with started(command(source, graph, graphframes_jar, "local-cluster[2,1,1024]"), log) as build:
        await_first_bucket(build, graph)
        executors = children(build, "CoarseGrainedExecutorBackend")
        assert len(executors) == 2
        executors[0].kill()
        assert len(list(graph.glob("neighborhoods/bucket=*"))) < BUCKETS
        assert build.wait() == 0, log.read_text()
    assert "Lost executor" in log.read_text()
    require_same(graph, source, tmp_path)


@pytest.mark.parametrize(
    "victim",
    [lambda build: build, lambda build: children(build, "SparkSubmit")[0]],
    ids=["the job", "the driver's JVM"],
)
def test_the_driver_is_killed(
    victim: Callable[[psutil.Popen], psutil.Process], graphframes_jar: Path, source: Path, tmp_path: Path
) -> None:
    """The build ends without a manifest and leaves no process; the same command completes it."""
    graph, log = tmp_path / "graph", tmp_path / "log"
    arguments = command(source, graph, graphframes_jar, "local[2]")
    with started(arguments, log) as build:
        await_first_bucket(build, graph)
        others = build.children(recursive=True)
        victim(build).kill()
        assert build.wait() != 0
        assert not psutil.wait_procs(others, timeout=60)[1]
    assert not (graph / MANIFEST).exists()
    again = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    require_same(graph, source, tmp_path)
