"""The main job on real vLLM: what it writes is true to the graph, and an engine that is killed loses nothing."""

from __future__ import annotations

import csv
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from medreason_dist.config import Config
from medreason_dist.errors import ModelError
from medreason_dist.generation.pipeline import generate
from medreason_dist.schemas import TRACES, RejectReason
from medreason_dist.storage import Folder
from tests.conftest import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.model]


@pytest.fixture
def vllm(graph: Config, tmp_path: Path) -> Config:
    """Six questions of the quickstart through its own language model."""
    model = ROOT / graph.engine.model
    if not model.is_dir():
        pytest.skip(f"there is no language model at {model}: make .models")
    run = replace(graph.run, uri=str(tmp_path / "run"), limit=6, shard_questions=3)
    engine = replace(graph.engine, model=str(model), env={**graph.engine.env, "VLLM_CPU_KVCACHE_SPACE": "1"})
    return replace(graph, run=run, engine=engine)


@contextmanager
def killer() -> Iterator[list[int]]:
    """Kills the first vLLM engine that is seen at work below this process; yields the list of those killed."""
    killed: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5) and not killed:
            for process in psutil.process_iter(["name", "cmdline"]):
                if "VLLM::Worker" in " ".join(process.info["cmdline"] or []) and process.cpu_times().user > 12:
                    process.send_signal(signal.SIGKILL)
                    killed.append(process.pid)
                    return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def test_a_run_on_real_vllm_survives_the_death_of_its_engine(vllm: Config) -> None:
    with killer() as killed:
        manifest = generate(vllm)
    assert len(killed) == 1
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


def test_a_model_that_only_the_worker_finds_broken_is_the_users_fault(vllm: Config, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="vLLM cannot load the model") as caught:
        generate(replace(vllm, engine=replace(vllm.engine, model=str(tmp_path / "broken"))))
    assert "Traceback" not in str(caught.value)
    assert generate(replace(vllm, run=replace(vllm.run, limit=1)))["questions"] == 1
