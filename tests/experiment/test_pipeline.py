"""The comparison from end to end with the small real model: killed on its way, resumed by the same command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medreason_dist.storage import Folder
from tests.conftest import ROOT, kill_job, run_job

pytestmark = [pytest.mark.ray, pytest.mark.model, pytest.mark.slow]

EVALUATIONS = ("base", "answer_only", "medreason")


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The quickstart's comparison of two variants that learn from some of its questions."""
    if not (ROOT / ".models").is_dir():
        pytest.skip(f"there are no models at {ROOT / '.models'}: make .models")
    pairs = {
        "graph.uri": tmp_path / "graph",
        "compare.uri": tmp_path / "comparison",
        "compare.targets": "[answer_only,medreason]",
        "run.limit": 16,
        "finetune.max_steps": 4,
        "finetune.save_steps": 2,
        "finetune.keep_checkpoints": 1,
        "finetune.eval_steps": 2,
        "finetune.num_cpus": 1,
        "evaluate.max_tokens": 48,
        "engine.env.VLLM_CPU_KVCACHE_SPACE": 1,
    }
    return ["--config", "configs/quickstart.yaml", *(f"{key}={value}" for key, value in pairs.items())]


@pytest.mark.timeout(1800)
def test_a_killed_comparison_goes_on_to_its_table(command: list[str], tmp_path: Path) -> None:
    for job in ("build_neighborhoods", "embed_entities"):
        built = run_job(job, *command)
        assert built.returncode == 0, built.stderr
    place = tmp_path / "comparison"
    checkpoint = place / "models/answer_only/checkpoints/checkpoint_manager_snapshot.json"
    kill_job("compare", *command, when=checkpoint.exists)
    generated = (place / "runs/medreason/_manifest.json").read_bytes()
    assert not (place / "evaluations").exists()
    done = run_job("compare", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place / "runs/medreason/_manifest.json").read_bytes() == generated
    header, *scores = [
        line.split() for line in done.stdout.splitlines() if line.startswith(("strict score, %", "medqa"))
    ]
    assert header[3:] == list(EVALUATIONS) and len(scores) == 1
    for first, second in (("base", "answer_only"), ("base", "medreason"), ("answer_only", "medreason")):
        assert f"{second} less {first}" in done.stdout
    told = json.loads((place / "comparison.json").read_text())
    assert set(told["scores"]["strict"]) == set(EVALUATIONS)
    learned = told["learned"]
    assert learned["answer_only"]["chats"] == learned["medreason"]["chats"] > 0
    assert learned["answer_only"]["learned_tokens"] < learned["medreason"]["learned_tokens"]
    # What was scored is what was trained.
    predictions = Folder(str(place / "evaluations/medreason/predictions"))
    (row, *_) = predictions.read_table(predictions.names(".parquet")[0]).to_pylist()
    assert row["model"] == f"{place}/models/medreason/model" and row["prompt"]["name"] == "chat"
    assert (place / "comparison.html").is_file()
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*.parquet")}
    again = run_job("compare", *command)
    assert again.returncode == 0 and again.stdout == done.stdout
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*.parquet")} == before
