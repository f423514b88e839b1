"""Shards that ended their worker time and again: which of their questions does it, found by halving.

One that ends its worker twice alone is rejected with ``engine_error`` and described in
``dead_letters/<question_id>.json``; the others get their verdicts. What was completed before comes from the log, so that a
half costs little more than the engine's start.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import ray

from medreason_dist.config import Config
from medreason_dist.errors import EngineError
from medreason_dist.storage import Folder
from medreason_dist.streaming import cluster
from medreason_dist.streaming.program import Program
from medreason_dist.streaming.progress import MAX_STARTS, Order, Progress
from medreason_dist.streaming.worker import Worker

logger = logging.getLogger(__name__)

FOLDER: Final = "dead_letters"
MAX_KILLERS: Final = 8
"""Questions of a shard that may each end a worker. More say that the engine is at fault."""


def finish_in_isolation(config: Config, program: Program, shard: str, progress: Progress) -> Order:
    """Writes the rows of a shard, by one worker after another, and its dead letters: «work», or «stop».

    Raises :class:`EngineError` where more than eight questions end their worker.
    """
    run = Folder(config.run.uri, config.storage)
    questions = program.layout.read_questions(run, shard).to_pylist()
    worker = _Isolated(config, program, progress)
    killers: dict[str, str] = {}
    doubted: set[str] = set()
    halves = _halve([question["question_id"] for question in questions])
    while halves:
        half = halves.pop()
        order = worker.call("attempt", shard, half)
        if order is Order.stop:
            return order
        if order is None and len(half) > 1:
            halves += _halve(half)
        elif order is None and half[0] not in doubted:
            # The machine may have gone just then.
            doubted.add(half[0])
            halves.append(half)
        elif order is None:
            killers[half[0]] = f"the question ended its worker each time, twice alone: see {FOLDER}/{half[0]}.json"
            if len(killers) > MAX_KILLERS:
                raise EngineError(f"more than {MAX_KILLERS} questions of {shard} end their worker, each alone")
    for question in questions:
        if (identity := question["question_id"]) in killers:
            letter = {"shard": shard, "question": question, "starts": MAX_STARTS, "worker": worker.last_words}
            run.write_json(f"{FOLDER}/{identity}.json", letter)
            logger.error("%s: %s", identity, killers[identity])
    order = worker.call("finish", shard, killers)
    if order is None:
        raise EngineError(f"{shard} ends its worker although none of its questions does alone")
    worker.end()
    return order


class _Isolated:
    """A worker outside the stream, anew after each death."""

    def __init__(self, config: Config, program: Program, progress: Progress) -> None:
        resources = {"num_cpus": config.workers.num_cpus, "num_gpus": config.workers.num_gpus}
        self._actor_class = ray.remote(Worker).options(**resources)
        self._arguments = config, program, progress
        self._actor: Any = None
        self.last_words = ""

    def call(self, method: str, *arguments: Any) -> Order | None:
        """Returns what the worker did, or None where it died of it."""
        self._actor = self._actor or self._actor_class.remote(*self._arguments)
        try:
            with cluster.unwrapped_errors():
                return Order(ray.get(getattr(self._actor, method).remote(*arguments)))
        except ray.exceptions.ActorDiedError as error:
            self._actor, self.last_words = None, str(error)
            return None

    def end(self) -> None:
        """Frees the worker's resources."""
        ray.kill(self._actor)
        self._actor = None


def _halve(items: Sequence[str]) -> list[Sequence[str]]:
    middle = len(items) // 2
    return [half for half in (items[:middle], items[middle:]) if half]
