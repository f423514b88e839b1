"""How many requests S3 got from this process."""

from __future__ import annotations

import threading
from collections import Counter

_COUNTS: Counter[str] = Counter()
_LOCK = threading.Lock()


def count_requests() -> dict[str, int]:
    """Returns the requests sent to S3 since the process started, by operation (``GetObject``, …), retries included."""
    with _LOCK:
        return dict(sorted(_COUNTS.items()))


def count_request(event_name: str, **_: object) -> None:
    """Counts one: a handler of botocore's ``before-send.s3.<operation>``, which every try of a request emits."""
    with _LOCK:
        _COUNTS[event_name.rpartition(".")[2]] += 1
