"""A sample: some questions through the engine of one worker, measured. Nothing of it stays."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import ray

from medreason_dist.config import Config
from medreason_dist.engines import open_engine
from medreason_dist.engines.base import Completion, Engine, Request
from medreason_dist.engines.cache import CachedEngine, CompletionLog
from medreason_dist.storage import Folder
from medreason_dist.streaming import cluster
from medreason_dist.streaming.program import Program

SHARD: Final = "sample.parquet"


@dataclass(frozen=True)
class Served:
    """One request: when it was sent and completed, in seconds of one clock, and its tokens, prompt and completion."""

    begin_s: float
    end_s: float
    tokens: int


@dataclass
class Sample:
    """What came of the questions of a sample."""

    load_s: float
    """From the start of the worker to its engines' readiness."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """As the program gives them, in the order of the questions, with ``latency_s``."""
    requests: list[Served] = field(default_factory=list)
    span_s: float = 0.0
    """From the first question's start to the last one's end."""
    stored_bytes: int = 0
    """What a run would have written for them: questions, rows and completions."""


def run_sample(config: Config, program: Program, questions: pa.Table) -> Sample:
    """Runs the program on ``questions`` in a worker's place on the cluster, as many at once as a worker has in flight.

    Raises :class:`ModelError` for an engine that cannot be opened, :class:`EngineDead` for one that dies.
    """
    resources = {"num_cpus": config.workers.num_cpus, "num_gpus": config.workers.num_gpus}
    # max_calls: what an engine leaves in a process goes with it.
    task = ray.remote(max_calls=1, max_retries=0, **resources)(_run_sample)
    with cluster.unwrapped_errors():
        sample: Sample = ray.get(task.remote(config, program, questions, time.time()))
    return sample


def _run_sample(config: Config, program: Program, questions: pa.Table, submitted_s: float) -> Sample:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_answer(config, program, questions, submitted_s, Folder(folder)))


async def _answer(config: Config, program: Program, questions: pa.Table, submitted_s: float, folder: Folder) -> Sample:
    program.open()
    configs = [each for each in (config.engine, config.judge) if each]
    engines = [open_engine(each, config.storage) for each in configs]
    sample = Sample(load_s=time.time() - submitted_s)
    log = CompletionLog(folder, SHARD)
    timed = [
        CachedEngine(TimedEngine(engine, sample), each.revision, log)
        for engine, each in zip(engines, configs, strict=True)
    ]
    in_flight = asyncio.Semaphore(config.workers.shards_in_flight * config.run.shard_questions)

    async def answer(question: dict[str, Any]) -> dict[str, Any]:
        async with in_flight:
            started = time.perf_counter()
            row = await program.run(question, timed[0], timed[-1])
            return {**row, "latency_s": time.perf_counter() - started}

    began = time.perf_counter()
    try:
        sample.rows = list(await asyncio.gather(*map(answer, questions.to_pylist())))
        sample.span_s = time.perf_counter() - began
    finally:
        for engine in engines:
            await engine.close()
    folder.child("questions").write_table(SHARD, questions)
    program.layout.write(folder, SHARD, questions, sample.rows)
    await log.close()
    sample.stored_bytes = sum((folder.path / name).stat().st_size for name in folder.names(".parquet"))
    return sample


class TimedEngine:
    """An engine whose requests are timed."""

    def __init__(self, engine: Engine, sample: Sample) -> None:
        self.model = engine.model
        self._engine = engine
        self._sample = sample

    async def complete(self, request: Request) -> Completion:
        """See :meth:`medreason_dist.engines.base.Engine.complete`."""
        begin_s = time.perf_counter()
        completion = await self._engine.complete(request)
        tokens = completion.prompt_tokens + completion.completion_tokens
        self._sample.requests.append(Served(begin_s, time.perf_counter(), tokens))
        return completion

    def count_tokens(self, text: str) -> int:
        """Returns how many tokens ``text`` takes."""
        return self._engine.count_tokens(text)

    async def close(self) -> None:
        """Leaves the engine, which others share, open."""
