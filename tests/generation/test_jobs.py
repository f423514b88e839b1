"""The jobs as a user starts them: exit codes and messages, on a folder, on s3:// and by ``ray job submit``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ray_cluster import RayCluster, start_cluster
from benchmarks.s3_server import S3Server
from medreason_dist.config import Config
from medreason_dist.generation.inspection import inspect_run
from medreason_dist.storage import MANIFEST, Folder
from tests.conftest import run_job

pytestmark = pytest.mark.ray


def arguments(config: Config, **places: str) -> list[str]:
    """The command line that gives a job this config."""
    uris = {"run.uri": config.run.uri, "graph.uri": config.graph.uri, **places}
    pairs = uris | {"embeddings.model": config.embeddings.model, "graph.source": config.graph.source}
    pairs |= {f"questions.sources.{name}": path for name, path in config.questions.sources.items()}
    pairs |= {f"questions.decontaminate.{name}": path for name, path in config.questions.decontaminate.items()}
    pairs |= {"engine.kind": "scripted", "engine.model": config.engine.model, "run.shard_questions": "16"}
    return ["--config", "configs/quickstart.yaml", *(f"{key}={value}" for key, value in pairs.items())]


def test_generate_then_report(config: Config) -> None:
    done = run_job("generate", *arguments(config))
    assert done.returncode == 0, done.stderr
    assert "rows read            34\n" in done.stdout and done.stdout.endswith(f"run: {config.run.uri}\n")
    assert "shards 2/2 · questions 32/32 · accepted " in done.stderr
    report = run_job("report", *arguments(config))
    assert report.returncode == 0, report.stderr
    assert report.stdout.startswith(done.stdout.split("seconds")[0])
    assert report.stdout.count("Verdict: accepted") == 2


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["engine.kind=vllm", "engine.model=./none"], "error: the model's folder does not exist\n  where: ./none\n"),
        (["engine.modle=x"], "error: unknown config key 'engine.modle'\n"),
        (["run.limit=many"], "error: config key 'run.limit'"),
        (["graph.uri=none"], "error: there is no finished graph: _manifest.json is missing\n  where: none\n"),
        (["questions.sources.medqa=none.jsonl"], "error: there is no such file, and no folder with files\n"),
        (["workers.num_gpus=2"], "error: an actor needs 2 GPUs, this machine has 0\n  where: workers.num_gpus\n"),
    ],
)
def test_the_users_fault_ends_with_2_one_message_and_nothing_written(
    config: Config, pairs: list[str], message: str
) -> None:
    done = run_job("generate", *arguments(config), *pairs)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr
    assert "\n  next:  " in done.stderr or "\n  where: " in done.stderr
    assert not Path(config.run.uri).exists()


def test_report_of_an_unfinished_run(config: Config) -> None:
    done = run_job("report", *arguments(config))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: the run is not finished: it has no manifest\n")


@pytest.mark.s3
def test_everything_on_s3(config: Config, s3: S3Server) -> None:
    bucket = s3.new_bucket()
    places = {"graph.uri": f"{bucket}/graph", "run.uri": f"{bucket}/runs/one"}
    places |= {"storage.endpoint_url": s3.endpoint_url, "storage.region": str(s3.storage.region)}
    for name in ("build_neighborhoods", "embed_entities", "generate", "report"):
        done = run_job(name, *arguments(config, **places))
        assert done.returncode == 0, done.stderr
    assert "Verdict: accepted" in done.stdout
    run = Folder(f"{bucket}/runs/one", s3.storage)
    manifest = run.read_json(MANIFEST)
    assert (manifest["questions"], manifest["shards"]) == (32, 2)
    assert sorted(run.names(".parquet")) == [
        *(f"completions/shard=0000{n}.parquet" for n in (0, 1)),
        "dropped/part=00000.parquet",
        *(f"{folder}/shard=0000{n}.parquet" for folder in ("questions", "traces") for n in (0, 1)),
    ]
    assert manifest["s3_requests"]["PutObject"] >= 7
    assert not inspect_run(run).faults
    denied = run_job("generate", *arguments(config, **places), AWS_SECRET_ACCESS_KEY="wrong")
    assert (denied.returncode, denied.stdout) == (2, "")
    assert "error: S3 denies access" in denied.stderr and "Traceback" not in denied.stderr
    nowhere = run_job("generate", *arguments(config, **(places | {"run.uri": "s3://no-such-bucket/run"})))
    assert nowhere.returncode == 2
    assert "error: the bucket does not exist\n  where: s3://no-such-bucket/run/" in nowhere.stderr


@pytest.fixture
def head() -> Iterator[RayCluster]:
    """A Ray head in processes of its own, which takes jobs."""
    with start_cluster(num_cpus=2) as cluster:
        yield cluster


def test_ray_job_submit_stop_and_submit_again(config: Config, head: RayCluster) -> None:
    entry = [sys.executable, "jobs/generate.py", *arguments(config), "run.flush_s=0.2", "run.drain_s=1"]
    script = Path(config.engine.model)
    rules = json.loads(script.read_text(encoding="utf-8"))
    script.write_text(json.dumps({"rules": rules, "delay_s": 2.0}), encoding="utf-8")
    head.submit("one", *entry)
    while not list(Path(config.run.uri).glob("completions/*/*.parquet")):
        assert head.status("one") != "FAILED"
        time.sleep(0.2)
    stopped = head.job("stop", "one")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "stopping: up to 1 s for what is under way" in head.log("one")
    script.write_text(json.dumps(rules), encoding="utf-8")
    done = head.job("submit", "--working-dir=.", "--", *entry)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rows read            34" in done.stdout
    manifest: dict[str, Any] = json.loads((Path(config.run.uri) / MANIFEST).read_text(encoding="utf-8"))
    assert (manifest["questions"], manifest["shards"]) == (32, 2)
    assert manifest["usage"]["replayed_tokens"] > 0
    refused = head.job("submit", "--working-dir=.", "--", *entry, "paths.top_k=1")
    assert refused.returncode != 0
    assert "paths.top_k: 3 there, 1 here" in refused.stdout
