"""vLLM in the test process."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Iterator

import psutil
import pytest

from tests.engines.smol import CONFIG, MODEL


@pytest.fixture(scope="session")
def model() -> str:
    """The small model's folder."""
    if not (MODEL / "config.json").is_file():
        pytest.skip(f"no model at {MODEL}: `make .models` makes it")
    return str(MODEL)


@pytest.fixture(scope="module")
def vllm_processes(model: str) -> Iterator[list[psutil.Process]]:
    """Room for one engine of this process: its environment goes with it, and the processes in the list must have."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*CONFIG.env, "VLLM_LOGGING_LEVEL"):
            patch.delenv(name, raising=False)
        patch.setenv("HF_HUB_OFFLINE", "1")
        started: list[psutil.Process] = []
        yield started
    # vLLM kills a process that does not end in 5 s, and does not wait for that.
    for child in multiprocessing.active_children():
        child.join(60)
    _, alive = psutil.wait_procs(started, timeout=60)
    assert not alive and not multiprocessing.active_children()
    # What vLLM leaves to the garbage collector warns while this module's filters hold.
    gc.collect()
