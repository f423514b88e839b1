"""What runs beside something that is measured or disturbed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_background(function: Callable[[threading.Event], object]) -> Iterator[None]:
    """Runs ``function`` in a thread while the context lasts; the event that it gets is set when the context ends."""
    ended = threading.Event()
    thread = threading.Thread(target=function, args=(ended,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
