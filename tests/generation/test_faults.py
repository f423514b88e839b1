"""What kills, hangs or stops a run, on real Ray: nothing is lost, and what kills is named."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import chaos
from benchmarks.s3_proxy import start_proxy
from benchmarks.s3_server import S3Server
from medreason_dist.config import Config
from medreason_dist.errors import RunError, StorageError
from medreason_dist.generation.inspection import format_inspection, inspect_run
from medreason_dist.generation.pipeline import generate
from medreason_dist.schemas import QUESTIONS, TRACES
from medreason_dist.storage import MANIFEST, Folder, hold_lease
from tests.conftest import ROOT, run_job, start_job
from tests.generation.conftest import SCRIPT
from tests.generation.test_jobs import arguments

pytestmark = pytest.mark.ray


def with_script(config: Config, *rules: dict[str, str], delay_s: float = 0.0) -> Config:
    """The config with rules before those of the fixture."""
    script = {"delay_s": delay_s, "rules": [*rules, *SCRIPT]}
    Path(config.engine.model).write_text(json.dumps(script), encoding="utf-8")
    return config


def read_table(config: Config, folder: str, schema: Any) -> list[dict[str, Any]]:
    child = Folder(config.run.uri).child(folder)
    return [row for name in child.names(".parquet") for row in child.read_table(name, schema).to_pylist()]


def test_a_question_that_kills_its_worker_is_found_and_the_rest_goes_on(config: Config) -> None:
    config = replace(config, run=replace(config.run, limit=8, shard_questions=4))
    calm = generate(with_script(config))
    question = read_table(config, "questions", QUESTIONS)[5]
    other = replace(config, run=replace(config.run, uri=f"{config.run.uri}-2"))
    killing = {"stage": "extract", "contains": question["question"], "does": "die"}
    manifest = generate(with_script(other, killing))
    (rejected,) = [row for row in read_table(other, "traces", TRACES) if row["question_id"] == question["question_id"]]
    assert rejected["reject_reason"] == "engine_error"
    assert f"dead_letters/{question['question_id']}.json" in rejected["reject_detail"]
    letter = json.loads((Path(other.run.uri) / f"dead_letters/{question['question_id']}.json").read_text())
    assert letter["question"]["question"] == question["question"]
    assert letter["shard"] == "shard=00001.parquet" and letter["worker"]
    assert (manifest["questions"], manifest["shards"]) == (calm["questions"], calm["shards"])
    assert manifest["rejected_by_reason"]["engine_error"] == 1
    found = inspect_run(Folder(other.run.uri))
    assert found.dead_letters == [question["question_id"]] and not found.faults and found.finished


def test_an_engine_that_hangs_counts_as_dead(config: Config) -> None:
    config = replace(config, run=replace(config.run, limit=4, shard_questions=2))
    config = replace(config, engine=replace(config.engine, stall_timeout_s=1.5))
    generate(with_script(config))
    question = read_table(config, "questions", QUESTIONS)[0]
    other = replace(config, run=replace(config.run, uri=f"{config.run.uri}-2"))
    manifest = generate(with_script(other, {"stage": "extract", "contains": question["question"], "does": "hang"}))
    assert manifest["questions"] == 4
    assert manifest["rejected_by_reason"]["engine_error"] == 1


def start(config: Config) -> subprocess.Popen[str]:
    return start_job("generate", *arguments(config), "run.flush_s=0.1", "run.drain_s=1")


def await_completions(config: Config, process: subprocess.Popen[str]) -> None:
    while not list(Path(config.run.uri).glob("completions/*/*.parquet")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_the_same_command_resumes(config: Config, number: signal.Signals) -> None:
    with start(with_script(config, delay_s=1.0)) as process:
        await_completions(config, process)
        assert "in flight     shard=0000" in format_inspection(inspect_run(Folder(config.run.uri)))
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "stopping: up to 1 s for what is under way" in err
    assert err.splitlines()[-1] == "stopped with 2 of 2 shards left; the same command resumes the run"
    assert not (Path(config.run.uri) / MANIFEST).exists()
    with start(with_script(config)) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    manifest = json.loads((Path(config.run.uri) / MANIFEST).read_text())
    assert manifest["usage"]["replayed_tokens"] > 0
    assert manifest["questions"] == 32
    files = Folder(config.run.uri).child("completions").names()
    assert files == ["shard=00000.parquet", "shard=00001.parquet"]


def test_two_starts_on_one_run_do_not_mix(config: Config) -> None:
    with hold_lease(Folder(config.run.uri), "run"), pytest.raises(StorageError, match="is at work on this folder"):
        generate(with_script(config))
    assert generate(with_script(config))["questions"] == 32


def test_a_larger_limit_extends_the_run(config: Config) -> None:
    config = with_script(replace(config, run=replace(config.run, limit=10)))
    assert generate(config)["questions"] == 10
    before = {row["question_id"]: row for row in read_table(config, "traces", TRACES)}
    files = sorted(path.name for path in Path(config.run.uri).glob("traces/*"))
    with pytest.raises(RunError, match=r"run\.limit: 10 there, 5 here"):
        generate(replace(config, run=replace(config.run, limit=5)))
    manifest = generate(replace(config, run=replace(config.run, limit=None)))
    assert (manifest["questions"], manifest["beyond_limit"], manifest["rows_read"]) == (32, 0, 34)
    after = {row["question_id"]: row for row in read_table(config, "traces", TRACES)}
    assert len(after) == 32 and {identity: after[identity] for identity in before} == before
    assert files == ["shard=00000.parquet", "shard=00001.parquet"]
    assert sorted(path.name for path in Path(config.run.uri).glob("traces/*"))[:2] == files
    assert not inspect_run(Folder(config.run.uri)).faults


def test_more_rows_in_a_source_extend_the_run(config: Config, tmp_path: Path) -> None:
    lines = (ROOT / "examples/quickstart/medqa.jsonl").read_text().splitlines(keepends=True)
    source = tmp_path / "medqa.jsonl"
    source.write_text("".join(lines[:5]))
    config = with_script(replace(config, questions=replace(config.questions, sources={"medqa": str(source)})))
    first = generate(config)["questions"]
    before = {path: path.stat().st_mtime_ns for path in Path(config.run.uri).glob("traces/*")}
    source.write_text("".join(lines))
    manifest = generate(config)
    assert first < manifest["questions"]
    assert manifest["rows_read"] == len(lines)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    counts = Counter(row["question_id"] for row in read_table(config, "traces", TRACES))
    assert set(counts.values()) == {1} and len(counts) == manifest["questions"]
    source.write_text("".join(lines[1:]))
    with pytest.raises(RunError, match=r"1 questions of the run are no longer in its sources, such as \w{32}"):
        generate(config)


def test_inspection_tells_what_is_damaged(config: Config) -> None:
    generate(with_script(config))
    run = Folder(config.run.uri)
    assert not inspect_run(run).faults
    traces = Path(config.run.uri) / "traces/shard=00001.parquet"
    whole = traces.read_bytes()
    middle = len(whole) // 3
    traces.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert any("shard=00001" in fault for fault in inspect_run(run).faults)
    traces.unlink()
    assert any("the traces are missing" in fault for fault in inspect_run(run).faults)
    done = run_job("inspect_run", f"run.uri={config.run.uri}")
    assert (done.returncode, "sound         no: " in done.stdout) == (2, True)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> chaos.Setting:
    setting = chaos.Setting(tmp_path_factory.mktemp("chaos"), copies=3, delay_s=1.0, kills_a_run=3, longest_s=2.5)
    chaos.prepare(setting)
    return setting


@pytest.fixture(scope="module")
def expected(setting: chaos.Setting) -> list[dict[str, Any]]:
    """The rows of a run that nothing disturbs."""
    return chaos.read_rows(chaos.run_undisturbed(setting, "calm"))


@pytest.mark.model
def test_chaos(setting: chaos.Setting, expected: list[dict[str, Any]]) -> None:
    outcome = chaos.run_disturbed(setting, "run", random.Random(0), expected)
    assert outcome.faults == []
    assert outcome.killed.total() == 3
    # What was stored is read, not spent again; how much was not yet stored at a kill is a matter of time.
    assert setting.run("run").read_json(MANIFEST)["usage"]["replayed_tokens"] > 0


@pytest.mark.model
@pytest.mark.s3
def test_chaos_on_s3_where_requests_fail(setting: chaos.Setting, expected: list[dict[str, Any]], s3: S3Server) -> None:
    with start_proxy(s3) as proxy:
        proxy.inject_every(5, seed=1)
        disturbed = setting._replace(runs=s3.new_bucket(), storage=proxy.storage, kills_a_run=2, workers=2)
        outcome = chaos.run_disturbed(disturbed, "s3", random.Random(1), expected)
        requests = disturbed.run("s3").read_json(MANIFEST)["s3_requests"]
    assert outcome.faults == []
    assert outcome.killed.total() == 2
    assert len(proxy.seen()) >= 4 and sum(proxy.seen().values()) > 20
    assert requests["PutObject"] > 0
