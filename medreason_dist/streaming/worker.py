"""The worker: a Ray actor that holds one engine and runs a program for all questions of several shards at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import numpy as np
import pyarrow as pa

from medreason_dist.config import Config
from medreason_dist.engines import open_engine, require_engine
from medreason_dist.engines.base import Engine
from medreason_dist.engines.cache import CachedEngine, CompletionLog
from medreason_dist.engines.watch import WatchedEngine
from medreason_dist.errors import EngineDead, StorageError
from medreason_dist.storage import Folder
from medreason_dist.streaming.metrics import Metrics
from medreason_dist.streaming.program import Program
from medreason_dist.streaming.progress import Order, Progress

logger = logging.getLogger(__name__)

MAX_BARREN: Final = 10
"""Workers that end, one after another, without a single completion, after which the run stops. Ray itself starts them
without end."""
BEAT_S: Final = 1.0
"""Seconds between two reports to the board, at most."""


def require_engines(config: Config) -> None:
    """Raises :class:`ModelError` for an engine that clearly cannot be opened on the machine where this is called."""
    for engine in filter(None, (config.engine, config.judge)):
        require_engine(engine, config.storage)


class Worker:
    """Callable class for Ray Data: a batch is the name of one shard, the result one row that says what became of it.

    Ray Data runs the coroutines of all batches in flight in one event loop, so that the questions of
    ``workers.shards_in_flight`` shards share the engine.
    """

    def __init__(self, config: Config, program: Program, progress: Progress) -> None:
        self._config = config
        self._program = program
        self._run = Folder(config.run.uri, config.storage)
        self._progress = progress
        self._metrics = Metrics(config.run.uri)
        self._opening = asyncio.Lock()
        self._engines: list[WatchedEngine] = []
        self._logs: dict[str, CompletionLog] = {}
        self._shards: dict[str, asyncio.Future[Any]] = {}
        self._beating: asyncio.Task[None] | None = None

    async def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Returns the shard's name and the :class:`Order` that was carried out; its rows are written after «work»."""
        (shard,) = (str(name) for name in batch["shard"])
        await self._begin()
        order = await self._progress.start(shard)
        # Of two workers on one shard the second need not ask for anything any more.
        if order is Order.work and not await asyncio.to_thread(self._program.layout.is_done, self._run, shard):
            order = await self.finish(shard, {})
        await self._progress.end(shard)
        return {"shard": np.array([shard]), "order": np.array([order.value])}

    async def finish(self, shard: str, killers: Mapping[str, str]) -> Order:
        """Writes the rows of a shard, with those questions rejected that ``killers`` maps to why: «work», or «stop»."""
        await self._begin()
        questions = await asyncio.to_thread(self._program.layout.read_questions, self._run, shard)
        rows = await self._answer(shard, questions, killers)
        if rows is None:
            return Order.stop
        await asyncio.to_thread(self._program.layout.write, self._run, shard, questions, rows)
        await self._logs.pop(shard).close()
        return Order.work

    async def attempt(self, shard: str, question_ids: Collection[str]) -> Order:
        """Runs some questions of a shard for their completions alone, which the log keeps."""
        await self._begin()
        questions = await asyncio.to_thread(self._program.layout.read_questions, self._run, shard)
        chosen = questions.filter(pa.array([each in question_ids for each in questions["question_id"].to_pylist()]))
        rows = await self._answer(shard, chosen, {})
        await self._logs.pop(shard).flush()
        return Order.stop if rows is None else Order.work

    async def _answer(self, shard: str, questions: pa.Table, killers: Mapping[str, str]) -> list[dict[str, Any]] | None:
        """Returns a row for each question, or None where the run was stopped meanwhile."""
        log = self._logs[shard] = await asyncio.to_thread(CompletionLog.open, self._run, shard)
        await self._open()
        engine, judge = self._cache_engines(log)
        self._shards[shard] = asyncio.gather(
            *(self._run_question(row, engine, judge, killers) for row in questions.to_pylist())
        )
        try:
            return list(await self._shards[shard])
        except asyncio.CancelledError:
            await self._flush(log)
            return None
        except EngineDead as error:
            await self._die(str(error))
        finally:
            del self._shards[shard]

    async def _run_question(
        self, question: dict[str, Any], engine: Engine, judge: Engine, killers: Mapping[str, str]
    ) -> dict[str, Any]:
        started = time.perf_counter()
        if (why := killers.get(question["question_id"])) is not None:
            row = self._program.reject(question, why, engine, judge)
        else:
            row = await self._program.run(question, engine, judge)
        row |= {"latency_s": time.perf_counter() - started, "finished_at": datetime.now(UTC)}
        self._progress.add(row)
        self._metrics.add(row)
        return row

    # What the questions share

    async def _open(self) -> None:
        # Not in the constructor: its exceptions reach the driver as text only, so that a ModelError is none any more.
        async with self._opening:
            if not self._engines:
                await asyncio.to_thread(self._program.open)
                # In this thread: an engine belongs to the event loop in which it is made.
                self._engines = [
                    WatchedEngine(open_engine(each, self._config.storage))
                    for each in filter(None, (self._config.engine, self._config.judge))
                ]

    def _cache_engines(self, log: CompletionLog) -> tuple[CachedEngine, CachedEngine]:
        revisions = self._config.engine.revision, (self._config.judge or self._config.engine).revision
        engine, judge = (
            CachedEngine(each, revision, log)
            for each, revision in zip((self._engines[0], self._engines[-1]), revisions, strict=True)
        )
        return engine, judge

    # The beat

    async def _begin(self) -> None:
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat())
            ended = await self._progress.worker_started()
            if ended >= MAX_BARREN:
                raise EngineDead(f"{ended} workers in a row ended without a single completion: see Ray's logs")

    async def _beat(self) -> None:
        """Once a second at least: reports, flushes what is due, notices a silent engine, stops where the run is to."""
        deadline = None
        while True:
            await asyncio.sleep(min(BEAT_S, self._config.run.flush_s))
            stopping = await self._progress.exchange()
            self._metrics.show(self._engines)
            for log in list(self._logs.values()):
                if log.is_due(0 if stopping else self._config.run.flush_s):
                    await self._flush(log)
            configs = filter(None, (self._config.engine, self._config.judge))
            for engine, config in zip(self._engines, configs, strict=False):
                if engine.silent_s > config.stall_timeout_s:
                    await self._die(f"no completion in {engine.silent_s:.0f} s, more than engine.stall_timeout_s")
            if stopping:
                deadline = deadline or time.monotonic() + self._config.run.drain_s
                if time.monotonic() >= deadline:
                    for shard in self._shards.values():
                        shard.cancel()

    async def _flush(self, log: CompletionLog) -> None:
        try:
            await log.flush()
        except StorageError as error:
            # The next beat tries again; what matters, the rows, raises.
            logger.warning("completions are not written yet: %s", error)

    async def _die(self, why: str) -> NoReturn:
        """Ends this process. An actor outlives the exception that a task raises, but this one has no engine any more;
        its end makes Ray start another, which runs the shards again."""
        logger.error("ending the worker: %s", why)
        with contextlib.suppress(Exception):
            async with asyncio.timeout(10):
                await asyncio.gather(*map(self._flush, self._logs.values()))
        os._exit(1)
