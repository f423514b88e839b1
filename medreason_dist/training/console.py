"""Metrics as lines, while a fine-tuning lasts."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ray.util.queue import Empty, Queue


@contextlib.contextmanager
def print_metrics() -> Iterator[Queue]:
    """Yields a queue for rows of metrics, which are printed to stderr, one a line, as long as the context lasts."""
    queue, ended = Queue(actor_options={"num_cpus": 0}), threading.Event()

    def tell() -> None:
        lines = Lines()
        while not ended.is_set() or not queue.empty():
            with contextlib.suppress(Empty):
                if line := lines.format(queue.get(timeout=1)):
                    print(line, file=sys.stderr, flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        ended.set()
        thread.join()
        queue.shutdown()


class Lines:
    """What the trainer logs, as text; knows how far the fine-tuning was when it began or went on."""

    def __init__(self) -> None:
        self._max_steps = 0
        self._first: tuple[int, float] | None = None
        """The first step that was told, and when: what comes before it, loading and the first evaluation, comes once."""

    def format(self, row: Mapping[str, Any]) -> str | None:
        """Returns ``step 20/300 · loss 1.234 · …``, None for a row that says nothing new."""
        if "max_steps" in row:
            self._max_steps, self._first = row["max_steps"], None
            start = f"resumes at step {row['step']}" if row["step"] else "starts"
            return (
                f"{start} · {row['max_steps']:,} steps, {row['epochs']} epochs · {row['rows']:,} packed rows, "
                f"{row['rows_a_step']} a step"
            )
        if "eval_loss" in row:
            parts = [f"held-out loss {row['eval_loss']:.4f}"]
        elif "loss" in row:
            parts = [
                f"loss {row['loss']:.4f}",
                f"learning rate {row['learning_rate']:.2e}",
                *self._tell_left(row["step"]),
            ]
        else:
            return None
        return " · ".join([f"step {row['step']}/{self._max_steps}", *parts])

    def _tell_left(self, step: int) -> Iterator[str]:
        if self._first is None:
            self._first = step, time.monotonic()
            return
        first, since = self._first
        left_s = (time.monotonic() - since) / (step - first) * (self._max_steps - step)
        yield f"ETA {int(left_s) // 60}m{int(left_s) % 60:02d}s"
