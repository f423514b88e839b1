"""Plan, traces and manifest of a run: what reconciles, and what is raised where it does not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from medreason_dist.config import Config, Method, load_config
from medreason_dist.errors import ReconcileError, RunError, StorageError
from medreason_dist.generation.manifest import write_manifest
from medreason_dist.generation.plan import plan_run, write_questions
from medreason_dist.generation.shards import LAYOUT
from medreason_dist.schemas import QUESTIONS, TRACES
from medreason_dist.storage import MANIFEST, Folder
from medreason_dist.streaming.plan import PLAN, Plan
from tests.conftest import ROOT

USAGE = {"stage": "trace", "requests": 2, "prompt_tokens": 30, "completion_tokens": 10, "replayed_tokens": 5}
ACCEPTED = {"status": "accepted", "reject_reason": None, "usage": [USAGE]}
REJECTED = {"status": "rejected", "reject_reason": "wrong_answer", "usage": [USAGE, {**USAGE, "stage": "answer"}]}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    source = ROOT / "examples/quickstart/huatuo_o1.jsonl"
    return load_config(
        Config, None, [f"run.uri={tmp_path}", f"questions.sources.huatuo={source}", "run.shard_questions=4"]
    )


@pytest.fixture
def run(config: Config) -> Folder:
    return Folder(config.run.uri)


def make_plan(config: Config, run: Folder, graph: str = "graph") -> Plan:
    """The run's plan, written where it is new."""
    plan, selection = plan_run(config, run, graph)
    return plan if selection is None else write_questions(config, run, plan, selection)


def finish(config: Config, run: Folder) -> Mapping[str, int]:
    """Plans the run and writes its traces, every second one accepted."""
    plan = make_plan(config, run)
    for shard, count in plan.shards.items():
        questions = run.read_table(f"questions/{shard}", QUESTIONS)
        LAYOUT.write(run, shard, questions, [ACCEPTED if n % 2 == 0 else REJECTED for n in range(count)])
    return plan.shards


def test_a_plan_is_made_once_and_read_again(config: Config, run: Folder) -> None:
    plan = make_plan(config, run)
    assert plan.shards == {"shard=00000.parquet": 4, "shard=00001.parquet": 2}
    assert plan.counts["by_source"]["huatuo"]["questions"] == plan.counts["questions"] == 6
    before = run.read(PLAN)
    assert make_plan(config, run) == plan
    assert run.read(PLAN) == before


def test_another_graph_is_another_run(config: Config, run: Folder) -> None:
    finish(config, run)
    with pytest.raises(RunError, match=r"graph fingerprint: 'graph' there, 'other' here"):
        make_plan(config, run, "other")


def test_a_run_from_before_there_were_methods_goes_on_and_another_method_is_another_run(
    config: Config, run: Folder
) -> None:
    finish(config, run)
    stored = run.read_json(PLAN)
    del stored["depends_on"]["run.method"]
    run.write_json(PLAN, stored)
    before = run.read(PLAN)
    plan, selection = plan_run(config, run, "graph")
    assert (selection, list(plan.shards)) == (None, list(stored["shards"]))
    assert run.read(PLAN) == before
    plain = replace(config, run=replace(config.run, method=Method.plain_cot))
    with pytest.raises(RunError, match=r"graph fingerprint: 'graph' there, None here\s+run\.method: 'medreason' there"):
        plan_run(plain, run, None)


@pytest.mark.parametrize(
    "theirs",
    [
        {"shards": {"shard=00000.parquet": 3}, "counts": {}, "depends_on": {"evaluate.limit": None}},
        {"counts": {}, "depends_on": {"finetune.model": "m"}},
    ],
)
def test_the_folder_of_another_job_is_left_alone(config: Config, run: Folder, theirs: dict[str, Any]) -> None:
    run.write_json("_plan.json", theirs)
    with pytest.raises(RunError, match="another job is at home in the folder"):
        make_plan(config, run)
    assert run.read_json("_plan.json") == theirs


def test_without_a_graph_there_is_no_fingerprint_of_one(config: Config, run: Folder) -> None:
    plain = replace(config, run=replace(config.run, method=Method.plain_cot))
    plan, selection = plan_run(plain, run, None)
    assert selection is not None
    write_questions(plain, run, plan, selection)
    assert set(run.read_json(PLAN)["fingerprints"]) == {"config", "questions_schema", "traces_schema"}
    assert plan_run(plain, run, None)[1] is None


def test_what_has_no_traces_is_missing(config: Config, run: Folder) -> None:
    plan = make_plan(config, run)
    assert LAYOUT.missing(run, plan.shards) == list(plan.shards)
    finish(config, run)
    assert LAYOUT.missing(run, plan.shards) == []
    run.delete("traces/shard=00000.parquet")
    assert LAYOUT.missing(run, plan.shards) == ["shard=00000.parquet"]


def test_a_trace_row_keeps_its_question(config: Config, run: Folder) -> None:
    finish(config, run)
    questions = run.read_table("questions/shard=00000.parquet", QUESTIONS)
    traces = run.read_table("traces/shard=00000.parquet", TRACES)
    assert traces.schema == TRACES
    for name in ("question_id", "dataset", "id_in_dataset", "question", "options", "answer"):
        assert traces[name].to_pylist() == questions[name].to_pylist()


def test_the_manifest_adds_up(config: Config, run: Folder) -> None:
    finish(config, run)
    manifest = write_manifest(config, run, make_plan(config, run), 1.5, {"PutObject": 2})
    assert {key: manifest[key] for key in ("questions", "accepted", "rejected", "shards", "wall_s")} == {
        "questions": 6,
        "accepted": 3,
        "rejected": 3,
        "shards": 2,
        "wall_s": 1.5,
    }
    assert manifest["rejected_by_reason"] == {"wrong_answer": 3}
    assert manifest["usage"]["by_stage"]["answer"]["prompt_tokens"] == 90
    assert {key: manifest["usage"][key] for key in ("requests", "prompt_tokens", "replayed_tokens")} == {
        "requests": 18,
        "prompt_tokens": 270,
        "replayed_tokens": 45,
    }
    assert manifest["usage"]["tokens_per_accepted"] == (270 + 90 + 45) / 3
    assert manifest["s3_requests"] == {"PutObject": 2}
    digest = hashlib.sha256(run.read("traces/shard=00000.parquet")).hexdigest()
    assert manifest["files"]["traces/shard=00000.parquet"] == digest
    assert manifest["config"]["run"]["shard_questions"] == 4
    assert set(manifest["fingerprints"]) == {"config", "graph", "questions_schema", "traces_schema"}


def test_a_verdict_too_few_is_refused(config: Config, run: Folder) -> None:
    make_plan(config, run)
    questions = run.read_table("questions/shard=00000.parquet", QUESTIONS)
    with pytest.raises(ReconcileError, match="4 questions but 3 rows"):
        LAYOUT.write(run, "shard=00000.parquet", questions, [ACCEPTED] * 3)


def drop_a_row(rows: pa.Table) -> pa.Table:
    return rows.slice(1)


def double_a_row(rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows.slice(0, 1), rows.slice(0, 3)])


def swap_rows(rows: pa.Table) -> pa.Table:
    return rows.take([1, 0, 2, 3])


@pytest.mark.parametrize("spoil", [drop_a_row, double_a_row, swap_rows])
def test_traces_that_are_not_the_questions_fail_the_run(config: Config, run: Folder, spoil: Any) -> None:
    finish(config, run)
    name = "traces/shard=00000.parquet"
    run.write_table(name, spoil(run.read_table(name)))
    with pytest.raises(ReconcileError, match=r"shard=00000\.parquet"):
        write_manifest(config, run, make_plan(config, run), 0, {})
    assert not run.exists(MANIFEST)


def test_a_shard_without_traces_fails_the_run(config: Config, run: Folder) -> None:
    finish(config, run)
    run.delete("traces/shard=00001.parquet")
    with pytest.raises(StorageError, match=r"shard=00001\.parquet"):
        write_manifest(config, run, make_plan(config, run), 0, {})
