"""Progress: the board on which workers and driver meet, and the line that tells how far a run is."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TextIO

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from medreason_dist.storage import count_requests

MAX_STARTS: Final = 3
"""Times that a shard is started in the stream: one that ended its worker as often is set aside."""

S3: Final = "s3."
"""What the names of counts of requests to S3 begin with."""
STATUS: Final = "status."
"""What the names of counts of questions by their status begin with."""


class Order(StrEnum):
    """What a worker is to do with a shard."""

    work = "work"
    set_aside = "set_aside"
    stop = "stop"


class Board:
    """What is known of a run while it lasts; one Ray actor of this class serves it, for ``workers`` at once."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._counts: Counter[str] = Counter()
        self._starts: Counter[str] = Counter()
        self._active: set[str] = set()
        self._barren = 0
        self._stopping = False

    def worker_started(self) -> int:
        """Returns how many workers have ended since the last completion of any: each start beyond the first ones follows
        an end."""
        self._counts["workers"] += 1
        if self._counts["workers"] > self._workers:
            self._barren += 1
        return self._barren

    def start(self, shard: str) -> str:
        """Returns the :class:`Order` for a shard that a worker is about to start."""
        if self._stopping:
            return Order.stop
        if self._starts[shard] >= MAX_STARTS:
            self._active.discard(shard)
            return Order.set_aside
        self._starts[shard] += 1
        self._active.add(shard)
        return Order.work

    def end(self, shard: str) -> None:
        """Notes that a worker is done with a shard, finished or not."""
        self._active.discard(shard)

    def exchange(self, counts: Mapping[str, int]) -> bool:
        """Adds a worker's counts; returns whether the run is to stop."""
        self._counts.update(counts)
        if counts.get("completion_tokens"):
            self._barren = 0
        return self._stopping

    def stop(self) -> None:
        """Lets no shard start any more, and the workers stop."""
        self._stopping = True

    def active(self) -> int:
        """Returns how many shards workers are at work on."""
        return len(self._active)

    def read(self) -> dict[str, int]:
        """Returns the sums so far."""
        return dict(self._counts)

    def s3_requests(self) -> dict[str, int]:
        """Returns the workers' requests to S3, by operation."""
        return {name.removeprefix(S3): count for name, count in self._counts.items() if name.startswith(S3)}


def start_board(workers: int) -> Any:
    """Returns a new :class:`Board` for so many workers at once.

    An actor of the driver's node serves it, which no other node's end takes away.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Board).remote(workers)


@dataclass
class Progress:
    """A worker's end of the board. Counts are sent once in a while and may be lost; rows are not."""

    board: Any
    _counts: Counter[str] = field(default_factory=Counter)
    _requests: Counter[str] = field(default_factory=Counter)
    """To S3, as far as they have been sent to the board."""

    async def worker_started(self) -> int:
        """Reports that a worker is at work; returns how many have ended since the last completion of any."""
        return int(await self.board.worker_started.remote())

    async def start(self, shard: str) -> Order:
        """Returns what to do with a shard."""
        return Order(await self.board.start.remote(shard))

    async def end(self, shard: str) -> None:
        """Reports that the worker is done with a shard; sends the counts."""
        await self.exchange()
        await self.board.end.remote(shard)

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts a question that has its row."""
        self._counts[f"{STATUS}{row['status']}"] += 1
        for used in row["usage"]:
            for key in ("prompt_tokens", "completion_tokens", "replayed_tokens"):
                self._counts[key] += used[key]

    async def exchange(self) -> bool:
        """Sends the counts; returns whether the run is to stop."""
        counts, self._counts = self._counts, Counter()
        requests = Counter(count_requests())
        counts.update({f"{S3}{name}": count for name, count in (requests - self._requests).items()})
        self._requests = requests
        return bool(await self.board.exchange.remote(dict(counts)))


class ProgressLine:
    """Tells, while a run lasts, how far it is: one line that is written over on a terminal, log lines elsewhere.

    A context manager; ``shard_done`` is called for each finished shard. ``done`` and ``total`` count shards, ``questions``
    those that are left to do.
    """

    def __init__(self, board: Any, total: int, done: int, questions: int, out: TextIO = sys.stderr) -> None:
        self._board, self._total, self.done, self._questions, self._out = board, total, done, questions, out
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
        self.done += 1

    def _tell_until_ended(self) -> None:
        while not self._ended.wait(1 if self._terminal else 20):
            self._tell()

    def _tell(self) -> None:
        counts = ray.get(self._board.read.remote())
        text = format_progress(counts, self.done, self._total, self._questions, time.monotonic() - self._started)
        end = "\r" if self._terminal else "\n"
        print(f"{text:<110}" if self._terminal else text, end=end, file=self._out, flush=True)


def format_progress(counts: Mapping[str, int], done: int, total: int, questions: int, elapsed_s: float) -> str:
    """Returns ``shards 3/8 · questions 190/512 · accepted 81 · rejected 109 · 2,310 tokens/s · ETA 4m10s``.

    Until the first worker reports, it says that engines are being loaded. Tokens are those spent.
    """
    if not counts.get("workers"):
        return f"shards {done}/{total} · loading the engines · {int(elapsed_s)} s"
    statuses = {name.removeprefix(STATUS): count for name, count in sorted(counts.items()) if name.startswith(STATUS)}
    # A shard that is done again counts its questions again.
    finished = min(sum(statuses.values()), questions)
    tokens = counts.get("prompt_tokens", 0) + counts.get("completion_tokens", 0)
    left_s = elapsed_s / finished * (questions - finished) if finished else None
    eta = "unknown" if left_s is None else f"{int(left_s) // 60}m{int(left_s) % 60:02d}s"
    parts = [f"shards {done}/{total}", f"questions {finished}/{questions}"]
    parts += [f"{name} {count}" for name, count in statuses.items()]
    return " · ".join([*parts, f"{tokens / max(elapsed_s, 1e-9):,.0f} tokens/s", f"ETA {eta}"])
