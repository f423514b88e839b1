"""The program: what a job does with one question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from medreason_dist.engines.base import Engine
from medreason_dist.streaming.shards import Layout


class Program(Protocol):
    """What a job does with one question. Pickled to each worker; ``open`` makes there what is too heavy for that."""

    layout: Layout

    def open(self) -> None:
        """Loads what the questions share; called once in a worker, and in a thread of its own."""

    async def run(self, question: Mapping[str, Any], engine: Engine, judge: Engine) -> dict[str, Any]:
        """Returns the columns of ``layout.rows`` that the program decides, ``status`` and ``usage`` among them.

        ``question`` is a row of ``layout.questions``. Raises only :class:`~medreason_dist.errors.EngineDead`: what fails
        with one question is in its row.
        """

    def reject(self, question: Mapping[str, Any], why: str, engine: Engine, judge: Engine) -> dict[str, Any]:
        """Returns the columns of a question that is not asked, for its requests have ended their workers."""
