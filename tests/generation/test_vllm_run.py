"""The main job on real vLLM: what it writes is true to the graph, and an engine that is killed loses nothing."""

from __future__ import annotations

import csv
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from benchmarks.background import in_background
from medreason_dist.config import Config
from medreason_dist.errors import ModelError
from medreason_dist.generation.pipeline import generate
from medreason_dist.schemas import TRACES, RejectReason
from medreason_dist.storage import MANIFEST, Folder
from tests.conftest import ROOT, run_job

pytestmark = [pytest.mark.ray, pytest.mark.model]


@pytest.fixture
def model() -> Path:
    """The quickstart's own language model."""
    model = ROOT / ".models/SmolLM2-135M-Instruct"
    if not model.is_dir():
        pytest.skip(f"there is no language model at {model}: make .models")
    return model


@pytest.fixture
def vllm(graph: Config, model: Path, tmp_path: Path) -> Config:
    """Six questions of the quickstart through it."""
    run = replace(graph.run, uri=str(tmp_path / "run"), limit=6, shard_questions=3, flush_s=0.3)
    engine = replace(graph.engine, model=str(model), env={**graph.engine.env, "VLLM_CPU_KVCACHE_SPACE": "1"})
    return replace(graph, run=run, engine=engine)


def vllm_processes(part: str = "VLLM::") -> list[psutil.Process]:
    """The running processes of vLLM's engines."""
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if part in " ".join(process.info["cmdline"] or [])]


@contextmanager
def killer(config: Config, worker: bool = False) -> Iterator[list[int]]:
    """Kills the engine, or the Ray worker that holds it, once it has completed something; yields the engine's processes."""
    engines: list[int] = []

    def watch(ended: threading.Event) -> None:
        while not ended.wait(0.2):
            # A process or a folder may go while it is looked at.
            with suppress(psutil.Error, OSError):
                running = vllm_processes()
                if running and list(Path(config.run.uri).glob("completions/*/*.parquet")):
                    above = [each for each in running[0].parents() if "ray::" in " ".join(each.cmdline()[:1])]
                    (above[0] if worker else running[-1]).send_signal(signal.SIGKILL)
                    engines.extend(process.pid for process in running)
                    return

    with in_background(watch):
        yield engines


def test_a_run_on_real_vllm_survives_the_death_of_its_engine(vllm: Config) -> None:
    with killer(vllm) as engines:
        manifest = generate(vllm)
    assert engines
    assert manifest["usage"]["replayed_tokens"] > 0
    assert (manifest["questions"], manifest["beyond_limit"], manifest["shards"]) == (6, 26, 2)
    folder = Folder(vllm.run.uri).child("traces")
    rows = [row for name in folder.names(".parquet") for row in folder.read_table(name, TRACES).to_pylist()]
    assert len({row["question_id"] for row in rows}) == 6
    assert {row["reject_reason"] for row in rows} <= {None, *RejectReason}
    with Path(vllm.graph.source).open(encoding="utf-8", newline="") as file:
        csv_rows = list(csv.DictReader(file))
    hops = {(int(row["x_index"]), int(row["y_index"])) for row in csv_rows}
    names = {int(row["x_index"]): row["x_name"] for row in csv_rows}
    paths = [path for row in rows for path in row["paths"]]
    assert paths and all(hop in hops for path in paths for hop in pairwise(path["nodes"]))
    assert all(path["names"] == [names[node] for node in path["nodes"]] for path in paths)
    written = [row for row in rows if row["reasoning"]]
    assert written and all(row["model"] == vllm.engine.model for row in rows)
    for stage in ("extract", "trace"):
        counts = manifest["usage"]["by_stage"][stage]
        assert counts["prompt_tokens"] > 50 * counts["requests"] and counts["completion_tokens"] > counts["requests"]


def test_a_plain_chain_of_thought_on_real_vllm_needs_no_graph(model: Path, tmp_path: Path) -> None:
    pairs = ["run.method=plain_cot", f"run.uri={tmp_path}/run", "run.limit=4", "trace.max_tokens=256"]
    pairs += [f"graph.uri={tmp_path}/none", f"embeddings.model={tmp_path}/none", f"engine.model={model}"]
    done = run_job("generate", "--config", "configs/quickstart.yaml", *pairs, "engine.env.VLLM_CPU_KVCACHE_SPACE=1")
    assert done.returncode == 0, done.stderr
    run = Folder(f"{tmp_path}/run")
    rows = [row for name in run.child("traces").names() for row in run.read_table(f"traces/{name}", TRACES).to_pylist()]
    written = [row for row in rows if row["reasoning"]]
    assert len(rows) == 4 and written, Counter(row["reject_detail"] for row in rows)
    assert {row["reject_reason"] for row in rows} <= {None, *RejectReason}
    assert all(row["grounding"] is None and not row["paths"] and not row["mentions"] for row in rows)
    assert all("###" not in row["reasoning"] and row["conclusion"] for row in written)
    by_stage = run.read_json(MANIFEST)["usage"]["by_stage"]
    assert by_stage["trace"]["requests"] == 4 and by_stage.keys() <= {"trace", "answer", "judge"}


def test_a_worker_that_is_killed_takes_its_engine_with_it(vllm: Config) -> None:
    with killer(vllm, worker=True) as engines:
        manifest = generate(vllm)
    assert manifest["questions"] == 6
    assert manifest["usage"]["replayed_tokens"] > 0
    assert engines and not {process.pid for process in vllm_processes()} & set(engines)


def test_a_model_that_only_the_worker_finds_broken_is_the_users_fault(vllm: Config, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="vLLM cannot load the model") as caught:
        generate(replace(vllm, engine=replace(vllm.engine, model=str(tmp_path / "broken"))))
    assert "Traceback" not in str(caught.value)
    assert generate(replace(vllm, run=replace(vllm.run, limit=1)))["questions"] == 1
