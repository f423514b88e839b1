"""The comparison from end to end with the small real model: killed on its way, resumed by the same command."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from medreason_dist.schemas import TRACES, RejectReason
from medreason_dist.storage import MANIFEST, Folder
from tests.conftest import ROOT, kill_job, run_job

pytestmark = [pytest.mark.ray, pytest.mark.model, pytest.mark.slow]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The quickstart's comparison of one variant, which needs no graph, that learns from some of its questions."""
    if not (ROOT / ".models").is_dir():
        pytest.skip(f"there are no models at {ROOT / '.models'}: make .models")
    pairs = {
        "graph.uri": tmp_path / "none",
        "embeddings.model": tmp_path / "none",
        "compare.uri": tmp_path / "comparison",
        "compare.targets": "[plain_cot]",
        "run.limit": 16,
        "trace.max_tokens": 256,
        "finetune.max_steps": 4,
        "finetune.save_steps": 2,
        "finetune.keep_checkpoints": 1,
        "finetune.eval_steps": 2,
        "finetune.num_cpus": 1,
        "evaluate.max_tokens": 48,
        "engine.env.VLLM_CPU_KVCACHE_SPACE": 1,
    }
    return ["--config", "configs/quickstart.yaml", *(f"{key}={value}" for key, value in pairs.items())]


def require_plain(run: Folder) -> None:
    """Real vLLM wrote a chain of thought for some of the questions, and nothing of a graph is in the rows."""
    rows = [row for name in run.child("traces").names() for row in run.read_table(f"traces/{name}", TRACES).to_pylist()]
    written = [row for row in rows if row["reasoning"]]
    assert len(rows) == 16 and written, Counter(row["reject_detail"] for row in rows)
    assert {row["reject_reason"] for row in rows} <= {None, *RejectReason}
    assert all(row["grounding"] is None and not row["paths"] and not row["mentions"] for row in rows)
    assert all("###" not in row["reasoning"] and row["conclusion"] for row in written)
    by_stage = run.read_json(MANIFEST)["usage"]["by_stage"]
    assert by_stage["trace"]["requests"] >= 16 and by_stage.keys() <= {"trace", "answer", "judge"}


@pytest.mark.timeout(1800)
def test_a_killed_comparison_goes_on_to_its_table(command: list[str], tmp_path: Path) -> None:
    place = tmp_path / "comparison"
    checkpoint = place / "models/plain_cot/checkpoints/checkpoint_manager_snapshot.json"
    kill_job("compare", *command, when=checkpoint.exists)
    generated = (place / "runs/plain_cot/_manifest.json").read_bytes()
    require_plain(Folder(str(place / "runs/plain_cot")))
    assert not (place / "evaluations").exists()
    done = run_job("compare", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resumes at step 2" in done.stderr
    assert (place / "runs/plain_cot/_manifest.json").read_bytes() == generated
    header, *scores = [
        line.split() for line in done.stdout.splitlines() if line.startswith(("strict score, %", "medqa"))
    ]
    assert header[3:] == ["base", "plain_cot"] and len(scores) == 1
    assert "plain_cot less base" in done.stdout
    told = json.loads((place / "comparison.json").read_text())
    assert set(told["scores"]["strict"]) == {"base", "plain_cot"}
    assert told["learned"]["plain_cot"]["chats"] > 0
    # What was scored is what was trained.
    predictions = Folder(str(place / "evaluations/plain_cot/predictions"))
    (row, *_) = predictions.read_table(predictions.names(".parquet")[0]).to_pylist()
    assert row["model"] == f"{place}/models/plain_cot/model" and row["prompt"]["name"] == "chat"
    assert (place / "comparison.html").is_file()
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*.parquet")}
    again = run_job("compare", *command)
    assert again.returncode == 0 and again.stdout == done.stdout
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*.parquet")} == before
