"""Signals: SIGTERM (a spot notice, ``ray job stop``) and Ctrl-C let a run finish what is under way."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Final

import ray

from medreason_dist.errors import RunStopped

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
GRACE_S: Final = 10.0
"""Seconds beyond ``run.drain_s`` after which a run that does not end is ended."""


class Stopping:
    """A context in which the first signal tells the board to stop, and a second one stops at once.

    Outside the main thread, where Python takes no signals, it does nothing.
    """

    def __init__(self, board: Any, drain_s: float) -> None:
        self._board = board
        self._drain_s = drain_s
        self._earlier: dict[int, Any] = {}
        self._timer: threading.Timer | None = None

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._timer is not None

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            self._earlier = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        if self._timer is not None:
            self._timer.cancel()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._timer is not None:
            raise RunStopped("stopped at once; the same command resumes the run")
        print(f"\nstopping: up to {self._drain_s:g} s for what is under way; again to stop at once", file=sys.stderr)
        # A worker that hangs must not keep the run from ending.
        self._timer = threading.Timer(self._drain_s + GRACE_S, signal.raise_signal, [signal.SIGINT])
        self._timer.daemon = True
        self._timer.start()
        # Not from here: the signal may have interrupted Ray in the middle of something.
        threading.Thread(target=lambda: ray.get(self._board.stop.remote()), daemon=True).start()
