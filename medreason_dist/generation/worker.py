"""The worker: a Ray actor that holds one engine and runs the program for all questions of several shards at once."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np

from medreason_dist.config import Config
from medreason_dist.engines import open_engine, require_engine
from medreason_dist.errors import EngineDead
from medreason_dist.generation.progress import Progress
from medreason_dist.generation.shards import write_traces
from medreason_dist.graph.embeddings import NameEmbeddings
from medreason_dist.graph.store import GraphStore
from medreason_dist.reasoning.linking import Nearest
from medreason_dist.reasoning.mentions import NameIndex
from medreason_dist.reasoning.program import run_question
from medreason_dist.reasoning.records import Question
from medreason_dist.reasoning.stages import Tools
from medreason_dist.schemas import QUESTIONS
from medreason_dist.storage import Folder

logger = logging.getLogger(__name__)

MAX_DEATHS: Final = 3
"""Engines that may die, on all workers together, between two finished shards. Ray itself starts workers without end."""


def require_engines(config: Config) -> None:
    """Raises :class:`ModelError` for an engine that clearly cannot be opened on the machine where this is called."""
    for engine in filter(None, (config.engine, config.judge)):
        require_engine(engine)


class Worker:
    """Callable class for Ray Data: a batch is the name of one shard, the result one row of counts.

    Ray Data runs the coroutines of all batches in flight in one event loop, so that the questions of
    ``workers.shards_in_flight`` shards share the engine.
    """

    def __init__(self, config: Config, progress: Progress) -> None:
        self._config = config
        self._run = Folder(config.run.uri, config.storage)
        self._progress = progress
        self._embedding = asyncio.Lock()

    @cached_property
    def _embeddings(self) -> NameEmbeddings:
        return NameEmbeddings.open(Folder(self._config.graph.uri, self._config.storage), self._config.embeddings)

    @cached_property
    def _tools(self) -> Tools:
        # Not in the constructor: its exceptions reach the driver as text only, so that a ModelError is none any more.
        config = self._config
        graph = GraphStore.open(config.graph, config.storage)
        nodes = graph.node_table
        names = NameIndex(*(nodes[column].to_pylist() for column in ("node_index", "node_name", "node_type")))
        engine = open_engine(config.engine)
        judge = open_engine(config.judge) if config.judge else engine
        self._progress.worker_ready()
        return Tools(graph, names, self._nearest, engine, judge, config)

    async def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Returns the shard's name and its number of questions, once its traces are written."""
        (shard,) = (str(name) for name in batch["shard"])
        questions = self._run.read_table(f"questions/{shard}", QUESTIONS)
        try:
            rows = await asyncio.gather(*(self._run_question(row) for row in questions.to_pylist()))
        except EngineDead as error:
            if await self._progress.engine_died() > MAX_DEATHS:
                raise
            # An actor outlives the exception that a task raises, but this one has no engine any more. Its end makes Ray
            # start another, which runs the shard again.
            logger.error("ending the worker: %s", error)
            os._exit(1)
        traces = await asyncio.to_thread(write_traces, self._run, shard, questions, rows)
        self._progress.shard_done()
        return {"shard": np.array([shard]), "questions": np.array([traces.num_rows])}

    async def _run_question(self, row: dict[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        trace = await run_question(Question.from_row(row), self._tools)
        trace["latency_s"] = time.perf_counter() - started
        self._progress.add(trace)
        return trace

    async def _nearest(self, texts: Sequence[str], top_k: int) -> Sequence[Nearest]:
        # The encoder is not safe to call from several threads at once.
        async with self._embedding:
            return await asyncio.to_thread(self._embeddings.nearest, texts, top_k)
