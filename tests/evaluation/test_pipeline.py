"""The job as a whole: shards, resume, scores, on the scripted engine and on a real small model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import evaluate as job
from medreason_dist.config import Config, EngineConfig, EngineKind, load_config
from medreason_dist.errors import ModelError, RunError
from medreason_dist.evaluation.comparison import format_evaluations, read_evaluations, write_comparison
from medreason_dist.evaluation.pipeline import evaluate
from medreason_dist.schemas import PREDICTIONS
from medreason_dist.storage import Folder
from tests.conftest import ROOT, run_job

QUESTIONS = [
    {
        "question": f"Which of these is number {number} of the list?",
        "options": {letter: f"{letter.lower()}{number}" for letter in "ABCD"},
        "answer": f"{'abcd'[number % 4]}{number}",
        "answer_idx": "ABCD"[number % 4],
    }
    for number in range(20)
]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Twenty questions in shards of six, each answered «Answer: A» after some thought."""
    benchmark, script = tmp_path / "medqa.jsonl", tmp_path / "script.json"
    benchmark.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8")
    rules = [{"stage": "evaluate", "text": "B is close, yet A is what is asked for.\nAnswer: A"}]
    script.write_text(json.dumps({"rules": rules, "ledger": str(tmp_path / "ledger")}), encoding="utf-8")
    pairs = [f"evaluate.uri={tmp_path}/evaluation", f"evaluate.benchmarks.medqa={benchmark}", "run.shard_questions=6"]
    config = load_config(Config, ROOT / "configs" / "quickstart.yaml", pairs)
    return replace(config, engine=EngineConfig(kind=EngineKind.scripted, model=str(script)))


def requests(config: Config) -> int:
    return len((Path(config.engine.model).parent / "ledger").read_text().splitlines())


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_every_question_has_its_prediction_and_is_scored_by_both(config: Config) -> None:
    manifest = evaluate(config)
    run = Folder(config.evaluate.uri)
    names = run.child("predictions").names(".parquet")
    rows = [row for name in names for row in run.read_table(f"predictions/{name}", PREDICTIONS).to_pylist()]
    assert len(names) == manifest["shards"] == 4
    assert len({row["question_id"] for row in rows}) == len(rows) == 20
    assert {row["samples"][0]["strict_label"] for row in rows} == {"A"}
    assert all(row["status"] == "answered" and row["finished_at"] for row in rows)
    scores = manifest["scores"]["by_benchmark"]["medqa"]
    assert scores["questions"] == 20
    # Five of twenty are A; the letter found first, B, is right for five others.
    assert scores["strict"]["value"] == scores["authors"]["value"] == 0.25
    assert scores["authors"]["either"] == 0.5
    assert evaluate(config) == manifest
    assert requests(config) == 20


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_a_larger_limit_extends_and_another_prompt_is_refused(config: Config) -> None:
    few = replace(config, evaluate=replace(config.evaluate, limit=8))
    assert evaluate(few)["scores"]["by_benchmark"]["medqa"]["questions"] == 8
    assert evaluate(config)["scores"]["by_benchmark"]["medqa"]["questions"] == 20
    assert requests(config) == 20
    with pytest.raises(RunError, match=r"evaluate\.max_tokens: 256 there, 7 here"):
        evaluate(replace(config, evaluate=replace(config.evaluate, max_tokens=7)))


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_lost_predictions_come_back_without_a_request(config: Config) -> None:
    manifest = evaluate(config)
    run = Folder(config.evaluate.uri)
    run.delete("_manifest.json")
    run.delete("predictions/shard=00002.parquet")
    # Evaluations of a version without this key go on.
    plan = run.read_json("_plan.json")
    del plan["depends_on"]["evaluate.system_prompt"]
    run.write_json("_plan.json", plan)
    assert evaluate(config)["scores"] == manifest["scores"]
    assert requests(config) == 20


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_several_samples_and_two_evaluations_side_by_side(config: Config, tmp_path: Path) -> None:
    several = replace(config.evaluate, uri=f"{tmp_path}/several", samples=3, temperature=0.7)
    evaluate(config)
    evaluate(replace(config, evaluate=several))
    folders = [Folder(config.evaluate.uri), Folder(several.uri)]
    evaluations = read_evaluations(folders)
    assert "25.0" in format_evaluations(evaluations)
    page = Path(write_comparison(folders[0], evaluations)).read_text(encoding="utf-8")
    assert "several" in page and "<svg" in page


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_no_model_no_folder(config: Config) -> None:
    with pytest.raises(ModelError):
        evaluate(replace(config, engine=replace(config.engine, model="missing.json")))
    assert not Path(config.evaluate.uri).exists()


def test_a_folder_that_cannot_be_compared_with_is_told_first(config: Config, tmp_path: Path) -> None:
    missing = replace(config.evaluate, compare=[f"{tmp_path}/missing"])
    with pytest.raises(RunError, match="missing"):
        job.main(replace(config, evaluate=missing))
    assert not Path(config.evaluate.uri).exists()


@pytest.mark.ray
@pytest.mark.model
@pytest.mark.slow
def test_a_real_model_as_a_user_starts_it(config: Config, tmp_path: Path, shared: Path) -> None:
    files = {"medqa": "medqa_test", "medbullets_op4": "medbullets_op4", "medxpertqa": "medxpertqa", "hle": "hle_biomed"}
    pairs = [f"evaluate.benchmarks.{name}={shared}/data/eval/{file}.jsonl" for name, file in files.items()]
    # One row of the shared HLE has an option without text.
    pairs += [
        "evaluate.invalid_limit=1",
        "evaluate.limit=4",
        "evaluate.max_tokens=48",
        f"evaluate.uri={tmp_path}/smol",
        "run.shard_questions=16",
    ]
    done = run_job("evaluate", "--config", "configs/quickstart.yaml", *pairs)
    assert done.returncode == 0, done.stdout + done.stderr
    scores = json.loads((tmp_path / "smol" / "_manifest.json").read_text())["scores"]["by_benchmark"]
    assert {name: row["questions"] for name, row in scores.items()} == dict.fromkeys(files, 4)
    assert all(name in done.stdout for name in files)
