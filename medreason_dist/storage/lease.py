"""One holder of a folder at a time, without clocks that agree and without a server for locks."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from medreason_dist.errors import StorageError
from medreason_dist.storage.folder import Folder

BEAT_S = 5.0
"""Seconds between two signs of life of a lease's holder; one that gives none for four times as long is dead."""


@contextlib.contextmanager
def hold_lease(folder: Folder, name: str, beat_s: float | None = None) -> Iterator[Callable[[], None]]:
    """Holds the lease ``name`` of a folder while the context lasts; yields a function that raises once it is lost.

    A lease is a file ``_<name>.<n>.json`` that its holder rewrites every ``beat_s`` seconds (default :data:`BEAT_S`).
    Where the last one's holder is dead, the next is number n + 1: of several who take over, :meth:`Folder.create` lets
    one win. No clocks are compared. Raises :class:`StorageError` where another holder lives.
    """
    beat_s = BEAT_S if beat_s is None else beat_s
    number = _next_number(folder, name, beat_s)
    file = _file(name, number)
    mine: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex, "beat": 0}
    if not folder.create(file, json.dumps(mine).encode()):
        raise _held(folder, _last_lease(folder, name)[1])
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(beat_s):
            mine["beat"] += 1
            # A sign of life that cannot be written is written late, or the lease is lost, which require_held tells.
            with contextlib.suppress(StorageError):
                folder.write_json(file, mine)

    def find_rival() -> dict[str, Any] | None:
        newest, holder = _last_lease(folder, name)
        held = newest == number and holder is not None and holder.get("token") == mine["token"]
        return None if held else holder or {}

    def require_held() -> None:
        if (rival := find_rival()) is not None:
            raise _held(folder, rival)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield require_held
    finally:
        ended.set()
        thread.join()
        # A lease that stays is succeeded after four beats.
        with contextlib.suppress(StorageError):
            # Without those before it a successor's would not be found, nor this one while they are deleted.
            if find_rival() is None:
                folder.delete_all([_file(name, past) for past in range(number, -1, -1)])


def _next_number(folder: Folder, name: str, beat_s: float) -> int:
    """Returns the number of a new lease; raises :class:`StorageError` where a holder lives."""
    while True:
        number, last = _last_lease(folder, name)
        if last is None:
            return 0
        if _lives(folder, _file(name, number), last, beat_s):
            raise _held(folder, last)
        # One that ended meanwhile deleted all of them.
        if folder.exists(_file(name, number)):
            return number + 1


def _last_lease(folder: Folder, name: str) -> tuple[int, dict[str, Any] | None]:
    """Returns the greatest number of a lease and its content; (-1, None) where there is none."""
    last: dict[str, Any] | None = None
    for number in itertools.count():
        try:
            last = folder.read_json(_file(name, number))
        except FileNotFoundError:
            break
    return number - 1, last


def _lives(folder: Folder, file: str, seen: dict[str, Any], beat_s: float) -> bool:
    """Returns whether a lease's holder gives a sign of life; waits for one unless its process can be looked up."""
    if seen.get("host") == socket.gethostname() and not _is_running(int(seen["pid"])):
        return False
    deadline = time.monotonic() + 4 * beat_s
    while time.monotonic() < deadline:
        time.sleep(min(beat_s, 1.0))
        try:
            if folder.read_json(file) != seen:
                return True
        except FileNotFoundError:
            return False
    return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _file(name: str, number: int) -> str:
    return f"_{name}.{number}.json"


def _held(folder: Folder, holder: dict[str, Any] | None) -> StorageError:
    who = f"process {holder.get('pid')} on {holder.get('host')}" if holder else "another process"
    return StorageError(f"{who} is at work on this folder", folder.uri, "wait until it is done, or give another folder")
