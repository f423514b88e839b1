"""The main job on real vLLM: what it writes is true to the graph, and what is killed of it loses nothing."""

from __future__ import annotations

import csv
import threading
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
from medreason_dist.storage import Folder
from tests.conftest import ROOT

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
def killer(config: Config) -> Iterator[list[set[int]]]:
    """Kills the engine, then the Ray worker that holds the next one, each once it has completed something.

    Yields the processes of each engine that was ended so.
    """
    engines: list[set[int]] = []

    def kill_one(worker: bool) -> bool:
        running = [process for process in vllm_processes() if process.pid not in set().union(*engines)]
        written = [path.stat().st_mtime for path in Path(config.run.uri).glob("completions/*/*.parquet")]
        if not running or max(written, default=0) < max(process.create_time() for process in running):
            return False
        above = [each for each in running[0].parents() if "ray::" in " ".join(each.cmdline()[:1])]
        (above[0] if worker else running[-1]).kill()
        engines.append({process.pid for process in running})
        return True

    def watch(ended: threading.Event) -> None:
        victims = [True, False]
        while victims and not ended.wait(0.2):
            # A process or a folder may go while it is looked at.
            with suppress(psutil.Error, OSError):
                if kill_one(worker=victims[-1]):
                    victims.pop()

    with in_background(watch):
        yield engines


def test_a_run_on_real_vllm_survives_the_death_of_its_engine_and_of_its_worker(vllm: Config) -> None:
    with killer(vllm) as engines:
        manifest = generate(vllm)
    assert len(engines) == 2 and not {process.pid for process in vllm_processes()} & set().union(*engines)
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


def test_a_model_that_only_the_worker_finds_broken_is_the_users_fault(
    vllm: Config, config: Config, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="vLLM cannot load the model") as caught:
        generate(replace(vllm, engine=replace(vllm.engine, model=str(tmp_path / "broken"))))
    assert "Traceback" not in str(caught.value)
    # The folder is as if nothing had been, for whatever engine comes next.
    assert generate(replace(vllm, engine=config.engine))["questions"] == 6
