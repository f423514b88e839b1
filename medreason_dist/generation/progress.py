"""Progress: what the workers have done so far, and the line that tells it."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

import ray

from medreason_dist.schemas import Status


class Board:
    """Adds up what the workers report; one Ray actor of this class serves a run."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._deaths = 0

    def add(self, counts: Mapping[str, int]) -> None:
        """Adds a worker's counts."""
        self._counts.update(counts)

    def shard_done(self) -> None:
        """Forgets the engines that died before."""
        self._deaths = 0

    def engine_died(self) -> int:
        """Returns how many engines, with this one, have died since the last finished shard."""
        self._deaths += 1
        return self._deaths

    def read(self) -> dict[str, int]:
        """Returns the sums so far."""
        return dict(self._counts)


@dataclass(frozen=True)
class Progress:
    """A worker's end of the board. Reports are sent and forgotten: they may be lost, traces are not."""

    board: Any

    def worker_ready(self) -> None:
        """Reports that a worker's engine is loaded."""
        self.board.add.remote({"workers": 1})

    def shard_done(self) -> None:
        """Reports that a shard's traces are written."""
        self.board.shard_done.remote()

    async def engine_died(self) -> int:
        """Reports a dead engine; returns how many have died, on all workers, since the last finished shard."""
        return int(await self.board.engine_died.remote())

    def add(self, trace: Mapping[str, Any]) -> None:
        """Reports a question that has its verdict."""
        counts = Counter({str(trace["status"]): 1})
        for used in trace["usage"]:
            counts.update(prompt_tokens=used["prompt_tokens"], completion_tokens=used["completion_tokens"])
        self.board.add.remote(dict(counts))


class ProgressLine:
    """Tells, while a run lasts, how far it is: one line that is written over on a terminal, log lines elsewhere.

    A context manager; ``shard_done`` is called for each finished shard. ``done`` and ``total`` count shards, ``questions``
    those that are left to do.
    """

    def __init__(self, board: Any, total: int, done: int, questions: int, out: TextIO = sys.stderr) -> None:
        self._board, self._total, self._done, self._questions, self._out = board, total, done, questions, out
        self._terminal = out.isatty()
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell_until_ended, daemon=True)

    def __enter__(self) -> ProgressLine:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self._tell()
        if self._terminal:
            print(file=self._out)

    def shard_done(self) -> None:
        """Counts one more finished shard."""
        self._done += 1

    def _tell_until_ended(self) -> None:
        while not self._ended.wait(1 if self._terminal else 20):
            self._tell()

    def _tell(self) -> None:
        counts = ray.get(self._board.read.remote())
        text = format_progress(counts, self._done, self._total, self._questions, time.monotonic() - self._started)
        end = "\r" if self._terminal else "\n"
        print(f"{text:<110}" if self._terminal else text, end=end, file=self._out, flush=True)


def format_progress(counts: Mapping[str, int], done: int, total: int, questions: int, elapsed_s: float) -> str:
    """Returns ``shards 3/8 · questions 190/512 · accepted 81 · rejected 109 · 2,310 tokens/s · ETA 4m10s``.

    Until the first worker reports, it says that engines are being loaded.
    """
    if not counts.get("workers"):
        return f"shards {done}/{total} · loading the engines · {int(elapsed_s)} s"
    accepted, rejected = counts.get(Status.accepted, 0), counts.get(Status.rejected, 0)
    finished = accepted + rejected
    tokens = counts.get("prompt_tokens", 0) + counts.get("completion_tokens", 0)
    left_s = elapsed_s / finished * (questions - finished) if finished else None
    eta = "unknown" if left_s is None else f"{int(left_s) // 60}m{int(left_s) % 60:02d}s"
    return (
        f"shards {done}/{total} · questions {finished}/{questions} · accepted {accepted} · rejected {rejected} · "
        f"{tokens / max(elapsed_s, 1e-9):,.0f} tokens/s · ETA {eta}"
    )
