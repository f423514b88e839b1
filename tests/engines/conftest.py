"""vLLM in the test process."""

from __future__ import annotations

import contextlib
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
def vllm_processes(model: str) -> Iterator[None]:
    """Room for one engine of this process: its environment goes with it, and its processes must have."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*CONFIG.env, "VLLM_LOGGING_LEVEL"):
            patch.delenv(name, raising=False)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
    started = [child for child in psutil.Process().children(recursive=True) if is_vllm(child)]
    _, alive = psutil.wait_procs(started, timeout=60)
    assert not alive and not multiprocessing.active_children()
    # What vLLM leaves to the garbage collector warns while this module's filters hold.
    gc.collect()


def is_vllm(process: psutil.Process) -> bool:
    """Whether a process is one of vLLM's; one that has ended in the meantime is none."""
    with contextlib.suppress(psutil.Error):
        return "VLLM" in "".join(process.cmdline())
    return False
