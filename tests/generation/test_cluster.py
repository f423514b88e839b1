"""A cluster of several nodes, submitted to by ``ray job submit``: a node that dies, one that joins, GPUs placed."""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import ray._raylet
from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
from ray._private.ray_constants import KV_NAMESPACE_CLUSTER

from benchmarks import chaos
from benchmarks.ray_cluster import RayCluster, RayNode, start_cluster
from benchmarks.s3_server import free_ports
from medreason_dist.config import Config
from medreason_dist.generation.inspection import inspect_run
from medreason_dist.generation.pipeline import generate
from medreason_dist.storage import MANIFEST, Folder
from tests.conftest import run_job
from tests.generation.conftest import SCRIPT
from tests.generation.test_jobs import arguments

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with start_cluster() as cluster:
        yield cluster


@pytest.fixture
def nodes(cluster: RayCluster) -> Iterator[Callable[..., RayNode]]:
    before = len(cluster.nodes)
    yield cluster.start_node
    for node in cluster.nodes[before:]:
        node.kill()


def workers_of(node: RayNode) -> list[psutil.Process]:
    running = []
    for pid in node.pids:
        try:
            if "ray::MapWorker" in " ".join(psutil.Process(pid).cmdline()[:1]):
                running.append(psutil.Process(pid))
        except psutil.NoSuchProcess:
            continue
    return running


METRICS = {
    "ray_medreason_questions_total{status}",
    "ray_medreason_tokens_total{kind=completion}",
    "ray_medreason_tokens_total{kind=prompt}",
    "ray_medreason_requests_total{stage=extract}",
    "ray_medreason_engine_requests{run}",
}


def metrics_of(node: RayNode, run: str) -> set[str]:
    """Returns the names of a run's metrics, each with every one of its tags by itself, and with its value too."""
    found = set()
    with urllib.request.urlopen(node.metrics) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("ray_medreason_") and f'run="{run}"' in line:
                name, _, rest = line.partition("{")
                for tag, value in re.findall(r'(\w+)="([^"]*)"', rest):
                    found |= {f"{name}{{{tag}}}", f"{name}{{{tag}={value}}}"}
    return found


def await_true(condition: Callable[[], Any], cluster: RayCluster, job: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline and cluster.status(job) != "FAILED", cluster.log(job)
        time.sleep(0.2)


def test_a_node_dies_and_another_joins(
    config: Config, cluster: RayCluster, nodes: Callable[..., RayNode], tmp_path: Path
) -> None:
    config = replace(config, run=replace(config.run, shard_questions=4))
    generate(config)
    expected = chaos.read_rows(Folder(config.run.uri))
    Path(config.engine.model).write_text(json.dumps({"rules": SCRIPT, "delay_s": 1.5}), encoding="utf-8")
    run = Folder(str(tmp_path / "on the cluster"))
    first, second = nodes(), nodes()
    command = [*arguments(config, **{"run.uri": run.uri}), "run.shard_questions=4", "run.flush_s=0.2"]
    cluster.submit("dies", sys.executable, "jobs/generate.py", *command, "workers.count=2")
    await_true(lambda: workers_of(first) and workers_of(second), cluster, "dies")
    # Four shards are in flight, two on each node.
    await_true(lambda: len({Path(name).parts[0] for name in run.child("completions").names()}) == 4, cluster, "dies")
    second.kill()
    third = nodes()
    await_true(lambda: workers_of(third), cluster, "dies")
    await_true(lambda: metrics_of(first, run.uri) >= METRICS, cluster, "dies")
    assert cluster.await_job("dies", seconds=180) == "SUCCEEDED", cluster.log("dies")
    manifest = run.read_json(MANIFEST)
    assert (manifest["questions"], manifest["shards"]) == (32, 8)
    assert chaos.read_rows(run) == expected
    assert manifest["usage"]["replayed_tokens"] > 0
    assert not inspect_run(run).faults


@pytest.mark.parametrize(("num_gpus", "count", "placed"), [(2, 2, [1, 1]), (0.5, 4, [4])])
def test_gpus_are_placed(
    config: Config,
    cluster: RayCluster,
    nodes: Callable[..., RayNode],
    num_gpus: float,
    count: int,
    placed: list[int],
) -> None:
    config = replace(config, run=replace(config.run, limit=8))
    Path(config.engine.model).write_text(json.dumps({"rules": SCRIPT, "delay_s": 3}), encoding="utf-8")
    started = [nodes(num_cpus=4, num_gpus=2) for _ in placed]
    command = [*arguments(config), "run.shard_questions=2", "run.limit=8", f"workers.num_gpus={num_gpus}"]
    name = f"gpus-{count}"
    cluster.submit(name, sys.executable, "jobs/generate.py", *command, f"workers.count={count}")
    await_true(lambda: sorted(len(workers_of(node)) for node in started) == sorted(placed), cluster, name)
    assert cluster.await_job(name, seconds=120) == "SUCCEEDED", cluster.log(name)
    assert Folder(config.run.uri).read_json(MANIFEST)["questions"] == 8


def test_a_head_that_does_not_answer(config: Config) -> None:
    done = run_job("generate", *arguments(config), RAY_ADDRESS=f"127.0.0.1:{free_ports(1)[0]}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Ray's head does not answer: ") and "Traceback" not in done.stderr


def test_a_cluster_of_another_ray(config: Config, cluster: RayCluster) -> None:
    gcs = ray._raylet.GcsClient(address=cluster.address)
    place = {"namespace": KV_NAMESPACE_CLUSTER}
    metadata = gcs.internal_kv_get(CLUSTER_METADATA_KEY, **place)
    gcs.internal_kv_put(CLUSTER_METADATA_KEY, metadata.replace(ray.__version__.encode(), b"2.50.0"), True, **place)
    try:
        done = run_job("generate", *arguments(config), RAY_ADDRESS=cluster.address)
    finally:
        gcs.internal_kv_put(CLUSTER_METADATA_KEY, metadata, True, **place)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n" in done.stderr
    assert f"  where: RAY_ADDRESS={cluster.address}\n" in done.stderr and "Traceback" not in done.stderr
