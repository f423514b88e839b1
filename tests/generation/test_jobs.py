"""The jobs as a user starts them: exit codes and messages, on a folder, on s3:// and by ``ray job submit``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.s3_server import S3Server, free_ports
from medreason_dist.config import Config
from medreason_dist.generation.inspection import inspect_run
from medreason_dist.storage import MANIFEST, Folder
from tests.conftest import ROOT

pytestmark = pytest.mark.ray

BIN = Path(sys.executable).parent


def arguments(config: Config, **places: str) -> list[str]:
    """The command line that gives a job this config."""
    uris = {"run.uri": config.run.uri, "graph.uri": config.graph.uri, **places}
    pairs = uris | {"embeddings.model": config.embeddings.model, "graph.source": config.graph.source}
    pairs |= {f"questions.sources.{name}": path for name, path in config.questions.sources.items()}
    pairs |= {"engine.kind": "scripted", "engine.model": config.engine.model, "run.shard_questions": "16"}
    return ["--config", "configs/quickstart.yaml", *(f"{key}={value}" for key, value in pairs.items())]


def run_job(name: str, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | environment
    return subprocess.run(
        [sys.executable, f"jobs/{name}.py", *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )


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
def head() -> Iterator[str]:
    """A Ray head in processes of its own; yields the address of its dashboard, which takes jobs."""
    ports = free_ports(6)
    names = ["port", "dashboard-port", "ray-client-server-port", "metrics-export-port"]
    names += ["dashboard-agent-grpc-port", "dashboard-agent-listen-port"]
    flags = [f"--{name}={port}" for name, port in zip(names, ports, strict=True)]
    command = [str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=2", *flags]
    # A folder of its own, where no other Ray of this machine looks for a cluster; short, for Unix sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "head.log"
        with log.open("wb") as out:
            environment = {**os.environ, "RAY_TMPDIR": folder}
            server = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{ports[1]}"
            _await_jobs(server, address, log)
            yield address
        finally:
            # SIGTERM would drain the head for half a minute.
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _await_jobs(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        done = submit(address, "list")
        if done.returncode == 0:
            return
        time.sleep(1)
    pytest.fail(f"Ray's head did not start: {log.read_text(errors='replace')[-2000:]}")


def submit(address: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "ray"), "job", command[0], f"--address={address}", *command[1:]],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_ray_job_submit_stop_and_submit_again(config: Config, head: str) -> None:
    entry = [sys.executable, "jobs/generate.py", *arguments(config), "run.flush_s=0.2", "run.drain_s=1"]
    script = Path(config.engine.model)
    rules = json.loads(script.read_text(encoding="utf-8"))
    script.write_text(json.dumps({"rules": rules, "delay_s": 2.0}), encoding="utf-8")
    submit(head, "submit", "--submission-id=one", "--no-wait", "--working-dir=.", "--", *entry)
    while not list(Path(config.run.uri).glob("completions/*/*.parquet")):
        assert "FAILED" not in submit(head, "status", "one").stdout
        time.sleep(0.2)
    stopped = submit(head, "stop", "one")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "stopping: up to 1 s for what is under way" in submit(head, "logs", "one").stdout
    script.write_text(json.dumps(rules), encoding="utf-8")
    done = submit(head, "submit", "--working-dir=.", "--", *entry)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rows read            34" in done.stdout
    manifest: dict[str, Any] = json.loads((Path(config.run.uri) / MANIFEST).read_text(encoding="utf-8"))
    assert (manifest["questions"], manifest["shards"]) == (32, 2)
    assert manifest["usage"]["replayed_tokens"] > 0
    refused = submit(head, "submit", "--working-dir=.", "--", *entry, "paths.top_k=1")
    assert refused.returncode != 0
    assert "paths.top_k: 3 there, 1 here" in refused.stdout
