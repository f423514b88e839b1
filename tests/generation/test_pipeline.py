"""The whole chain on real Ray with a scripted engine: what a run writes, resumes and refuses."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from medreason_dist.config import Config, EngineConfig, EngineKind, Method
from medreason_dist.errors import GraphError, ModelError, RunError, SourceError, UserError
from medreason_dist.generation.inspection import inspect_run
from medreason_dist.generation.pipeline import generate, plan
from medreason_dist.schemas import DROPPED, QUESTIONS, TRACES
from medreason_dist.storage import MANIFEST, Folder
from tests.conftest import ROOT
from tests.generation.conftest import PLAIN

pytestmark = pytest.mark.ray


def read_traces(config: Config) -> list[dict[str, Any]]:
    folder = Folder(config.run.uri).child("traces")
    rows = [row for name in folder.names(".parquet") for row in folder.read_table(name, TRACES).to_pylist()]
    return [{**row, "latency_s": 0, "finished_at": None} for row in rows]


def modified(config: Config) -> dict[str, int]:
    root = Path(config.run.uri)
    return {path.relative_to(root).as_posix(): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def read_hops(source: str) -> set[tuple[int, int]]:
    with Path(source).open(encoding="utf-8", newline="") as file:
        return {(int(row["x_index"]), int(row["y_index"])) for row in csv.DictReader(file)}


def test_every_row_that_goes_in_comes_out(config: Config) -> None:
    manifest = generate(config)
    run = Folder(config.run.uri)
    rows = read_traces(config)
    questions = [
        identity
        for name in run.child("questions").names(".parquet")
        for identity in run.child("questions").read_table(name, QUESTIONS)["question_id"].to_pylist()
    ]
    dropped = run.child("dropped").read_table("part=00000.parquet", DROPPED).to_pylist()
    assert json.loads(run.read(MANIFEST)) == manifest
    assert (manifest["rows_read"], manifest["dropped"], manifest["questions"], manifest["shards"]) == (34, 2, 32, 4)
    assert Counter(row["drop_reason"] for row in dropped) == {"duplicate": 1, "invalid_input": 1}
    assert [row["question_id"] for row in rows] == questions == sorted(questions)
    assert Counter(row["status"] for row in rows) == {
        "accepted": manifest["accepted"],
        "rejected": manifest["rejected"],
    }
    assert Counter(row["reject_reason"] for row in rows if row["reject_reason"]) == manifest["rejected_by_reason"]
    assert manifest["accepted"] > 5 and manifest["rejected_by_reason"]["wrong_answer"] > 5
    right_is_a = [row for row in rows if row["answer_label"] == "A" and row["reasoning"]]
    assert right_is_a and all(row["status"] == "accepted" for row in right_is_a)
    hops = read_hops(config.graph.source)
    paths = [path for row in rows for path in row["paths"]]
    assert paths and all(hop in hops for path in paths for hop in pairwise(path["nodes"]))
    by_stage = manifest["usage"]["by_stage"]
    assert sum(counts["requests"] for counts in by_stage.values()) == manifest["usage"]["requests"]
    assert by_stage["extract"]["requests"] == 32


@pytest.fixture
def plain(config: Config, tmp_path: Path) -> Config:
    """A plain chain of thought, with neither graph nor embedding model."""
    script = [{"stage": "trace", "text": PLAIN}, {"stage": "answer", "contains": "in one line.", "text": "the first"}]
    Path(config.engine.model).write_text(json.dumps(script), encoding="utf-8")
    return replace(
        config,
        run=replace(config.run, method=Method.plain_cot),
        graph=replace(config.graph, uri=str(tmp_path / "none")),
        embeddings=replace(config.embeddings, model=str(tmp_path / "none")),
    )


def test_a_plain_chain_of_thought_needs_no_graph(plain: Config) -> None:
    _, expected = plan(plain)
    manifest = generate(plain)
    rows = read_traces(plain)
    assert expected["by_stage"].keys() == manifest["usage"]["by_stage"].keys() == {"trace", "answer", "judge"}
    assert (manifest["questions"], manifest["shards"], len(rows)) == (32, 4, 32)
    assert {row["status"] for row in rows if row["answer_label"] in ("A", None)} == {"accepted"}
    assert {row["reject_reason"] for row in rows if row["answer_label"] not in ("A", None)} == {"wrong_answer"}
    assert all(row["grounding"] is None and not row["paths"] and not row["mentions"] for row in rows)
    assert set(manifest["fingerprints"]) == {"config", "questions_schema", "traces_schema"}
    assert manifest["decontamination"]["files"].keys() == {"quickstart_test"}
    found = inspect_run(Folder(plain.run.uri))
    assert (found.faults, found.finished, found.method) == ([], True, "plain_cot")
    assert generate(plain) == manifest
    with pytest.raises(GraphError):
        generate(replace(plain, run=replace(plain.run, method=Method.medreason)))


def test_a_run_holds_against_the_contract(config: Config, shared: Path) -> None:
    generate(config)
    command = [sys.executable, str(shared / "tools" / "check_run.py"), config.run.uri]
    command += ["--kg", config.graph.source, "--graph", config.graph.uri]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout and done.stdout.count("ok  ") >= 14


def test_a_finished_run_is_left_as_it_is(config: Config) -> None:
    manifest = generate(config)
    before = modified(config)
    assert generate(config) == manifest
    assert modified(config) == before


def test_only_what_is_missing_is_done_and_comes_out_the_same(config: Config) -> None:
    generate(config)
    rows, before = read_traces(config), modified(config)
    for name in ("traces/shard=00001.parquet", MANIFEST):
        Folder(config.run.uri).delete(name)
    generate(config)
    changed = {name for name, moment in modified(config).items() if moment != before[name]}
    assert changed == {"traces/shard=00001.parquet", "completions/shard=00001.parquet", MANIFEST}
    again = read_traces(config)
    assert [{**row, "usage": None} for row in again] == [{**row, "usage": None} for row in rows]
    # The shard's completions were kept, so that nothing was spent on it again.
    for row, first in zip(again, rows, strict=True):
        if row != first:
            spent = sum(used["prompt_tokens"] + used["completion_tokens"] for used in first["usage"])
            assert sum(used["replayed_tokens"] for used in row["usage"]) == spent > 0
            assert not any(used["prompt_tokens"] + used["completion_tokens"] for used in row["usage"])
    assert sum(row != first for row, first in zip(again, rows, strict=True)) == 9


def test_more_workers_and_shards_in_flight_change_no_row(config: Config, tmp_path: Path) -> None:
    generate(config)
    other = replace(
        config,
        run=replace(config.run, uri=str(tmp_path / "other")),
        workers=replace(config.workers, count=2, shards_in_flight=1, num_cpus=0.5),
    )
    generate(other)
    assert read_traces(other) == read_traces(config)


def test_the_judge_may_be_another_engine(config: Config, tmp_path: Path) -> None:
    script = tmp_path / "judge.json"
    script.write_text('[{"stage": "judge", "text": "incorrect"}]', encoding="utf-8")
    judge = EngineConfig(kind=EngineKind.scripted, model=str(script))
    generate(replace(config, judge=judge))
    rows = [row for row in read_traces(config) if row["answer_from_reasoning"]]
    judged = [row for row in rows if not row["options"]]
    assert len(judged) == 6
    assert {(row["reject_reason"], row["judge"]["by"]) for row in judged} == {("judge_rejected", str(script))}
    assert {(row["model"], row["judge_model"]) for row in rows} == {(config.engine.model, str(script))}


def test_another_config_is_refused_with_the_keys_that_differ(config: Config) -> None:
    generate(config)
    before = modified(config)
    other = replace(config, paths=replace(config.paths, top_k=2), linking=replace(config.linking, min_score=0.7))
    with pytest.raises(
        RunError, match=r"linking\.min_score: 0\.6 there, 0\.7 here[\s\S]*paths\.top_k: 3 there, 2 here"
    ):
        generate(other)
    assert modified(config) == before
    assert generate(replace(config, workers=replace(config.workers, shards_in_flight=3)))["questions"] == 32


def test_a_plan_without_traces_is_made_anew(config: Config) -> None:
    wrong = replace(config, run=replace(config.run, shard_questions=32), engine=replace(config.engine, model=""))
    # Without its script the engine has no text for a trace, so that nothing is accepted.
    assert generate(wrong)["accepted"] == 0
    for name in ("traces/shard=00000.parquet", MANIFEST):
        Folder(config.run.uri).delete(name)
    assert generate(config)["shards"] == 4


def cut_gzip(path: Path) -> str:
    rows = (ROOT / "examples/quickstart/medqa.jsonl").read_bytes()
    path = path.with_suffix(".jsonl.gz")
    path.write_bytes(gzip.compress(rows)[:-20])
    return str(path)


def empty(path: Path) -> str:
    path.touch()
    return str(path)


def latin_1(path: Path) -> str:
    path.write_bytes('{"question": "Sjögren"}\n'.encode("latin-1"))
    return str(path)


def wrong_types(path: Path) -> str:
    path.write_text('{"question": 3, "options": [], "answer_idx": 1}\n', encoding="utf-8")
    return str(path)


def missing(path: Path) -> str:
    return str(path)


@pytest.mark.parametrize("make", [cut_gzip, empty, latin_1, wrong_types, missing])
def test_a_bad_source_stops_the_run_before_anything_is_written(
    config: Config, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    sources = {**config.questions.sources, "medqa": make(tmp_path / "bad.jsonl")}
    with pytest.raises(SourceError, match="bad"):
        generate(replace(config, questions=replace(config.questions, sources=sources)))
    assert not Path(config.run.uri).exists()


@pytest.mark.parametrize(
    ("engine", "error", "message"),
    [
        (EngineConfig(model="./none"), ModelError, "the model's folder does not exist\n  where: ./none"),
        (EngineConfig(), ModelError, "engine.model is not set"),
        (EngineConfig(kind=EngineKind.scripted, model="none.json"), ModelError, "none.json"),
        (
            EngineConfig(kind=EngineKind.openai, model="m", base_url="http://127.0.0.1:9", max_retries=0),
            ModelError,
            "the endpoint cannot be used",
        ),
    ],
)
def test_an_engine_that_is_not_to_be_had_stops_the_run_before_anything_is_written(
    config: Config, engine: EngineConfig, error: type[UserError], message: str
) -> None:
    with pytest.raises(error) as caught:
        generate(replace(config, engine=engine))
    assert message in str(caught.value) and "Traceback" not in str(caught.value)
    with pytest.raises(error):
        generate(replace(config, judge=engine))
    assert not Path(config.run.uri).exists()


def test_a_graph_that_is_not_ready_is_refused(config: Config, tmp_path: Path) -> None:
    nowhere = replace(config, graph=replace(config.graph, uri=str(tmp_path / "none")))
    with pytest.raises(GraphError, match=r"_manifest\.json is missing[\s\S]*jobs/build_neighborhoods\.py"):
        generate(nowhere)
    other = replace(config, embeddings=replace(config.embeddings, model="other/model"))
    with pytest.raises(GraphError, match=r"embeddings\.model is other/model[\s\S]*jobs/embed_entities\.py"):
        generate(other)
    assert not Path(config.run.uri).exists()
