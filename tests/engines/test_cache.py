"""The completion log: what comes back after a worker's death, from how many files, and what does not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from medreason_dist.engines import cache
from medreason_dist.engines.base import Choice, Completion, FinishReason, JsonSchema, Message, Regex, Request
from medreason_dist.engines.cache import CachedEngine, CompletionLog, request_key
from medreason_dist.engines.scripted import ScriptedEngine
from medreason_dist.schemas import Stage
from medreason_dist.storage import Folder

SHARD = "shard=00000.parquet"
REQUEST = Request(Stage.trace, (Message("user", "Why?"),), max_tokens=100, seed=7)


class CountingEngine(ScriptedEngine):
    """Counts what is really asked."""

    def __init__(self) -> None:
        super().__init__(lambda request: f"because {request.seed}")
        self.asked = 0

    async def complete(self, request: Request) -> Completion:
        self.asked += 1
        return await super().complete(request)


@pytest.fixture
def run(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path))


async def ask(run: Folder, engine: CountingEngine, *requests: Request) -> tuple[CompletionLog, list[Completion]]:
    log = CompletionLog.open(run, SHARD)
    cached = CachedEngine(engine, None, log)
    return log, [await cached.complete(request) for request in requests]


async def test_what_was_flushed_is_not_asked_again(run: Folder) -> None:
    engine = CountingEngine()
    log, first = await ask(run, engine, REQUEST, replace(REQUEST, seed=8))
    await log.flush()
    _, again = await ask(run, engine, REQUEST, replace(REQUEST, seed=8), replace(REQUEST, seed=9))
    assert engine.asked == 3
    assert [completion.replayed for completion in again] == [True, True, False]
    assert [replace(completion, replayed=False) for completion in again[:2]] == first


async def test_what_was_not_flushed_is_lost(run: Folder) -> None:
    engine = CountingEngine()
    await ask(run, engine, REQUEST)
    await ask(run, engine, REQUEST)
    assert engine.asked == 2


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, seed=8),
        replace(REQUEST, temperature=0.1),
        replace(REQUEST, messages=(Message("user", "Why not?"),)),
        replace(REQUEST, messages=(Message("system", "Why?"),)),
        replace(REQUEST, constraint=Choice(("a",))),
        replace(REQUEST, constraint=Regex("a")),
        replace(REQUEST, constraint=JsonSchema({"type": "object"})),
        replace(REQUEST, sampling_params={"top_p": 0.9}),
    ],
)
def test_another_request_has_another_key(other: Request) -> None:
    assert request_key("m", None, other) != request_key("m", None, REQUEST)
    assert request_key("m", None, replace(REQUEST, max_tokens=1)) == request_key("m", None, REQUEST)
    models = [("m", None), ("m", "main"), ("n", None)]
    assert len({request_key(model, revision, REQUEST) for model, revision in models}) == 3


@pytest.mark.parametrize(
    ("reason", "tokens", "limit", "found"),
    [
        (FinishReason.stop, 20, 100, True),
        (FinishReason.stop, 20, 20, True),
        (FinishReason.stop, 20, 19, False),
        (FinishReason.stop, 20, 500, True),
        (FinishReason.length, 100, 100, True),
        (FinishReason.length, 100, 101, False),
        (FinishReason.length, 100, 50, False),
    ],
)
async def test_a_completion_is_used_again_where_the_limit_changes_nothing(
    reason: FinishReason, tokens: int, limit: int, found: bool, run: Folder
) -> None:
    log = CompletionLog(run, SHARD)
    log.add("key", REQUEST, Completion("text", reason, 5, tokens))
    await log.flush()
    assert (CompletionLog.open(run, SHARD).find("key", limit) is not None) == found


async def test_files_are_few_however_often_it_is_flushed(run: Folder) -> None:
    log = CompletionLog(run, SHARD)
    for number in range(50):
        log.add(str(number), REQUEST, Completion("text", FinishReason.stop, 5, 1))
        await log.flush()
        await log.flush()
        assert len(run.child(cache.FOLDER).names()) <= cache.MAX_PARTS
    again = CompletionLog.open(run, SHARD)
    assert all(again.find(str(number), 100) for number in range(50))
    await again.close()
    assert run.child(cache.FOLDER).names() == [SHARD]
    assert all(CompletionLog.open(run, SHARD).find(str(number), 100) for number in range(50))


async def test_a_flush_that_comes_too_late_leaves_no_part(run: Folder) -> None:
    log = CompletionLog(run, SHARD)
    log.add("key", REQUEST, Completion("text", FinishReason.stop, 5, 1))
    await asyncio.gather(log.close(), log.flush())
    assert run.child(cache.FOLDER).names() == [SHARD]


async def test_two_workers_on_one_shard_lose_nothing(run: Folder) -> None:
    logs = [CompletionLog(run, SHARD) for _ in range(2)]
    for number, log in enumerate(logs):
        log.add(str(number), REQUEST, Completion("text", FinishReason.stop, 5, 1))
        await log.flush()
    again = CompletionLog.open(run, SHARD)
    assert again.find("0", 100) and again.find("1", 100)
    assert CompletionLog.open(run, "shard=00001.parquet").find("0", 100) is None


async def test_a_damaged_part_is_lost_work_only(run: Folder, caplog: pytest.LogCaptureFixture) -> None:
    log = CompletionLog(run, SHARD)
    for number in range(2):
        log.add(str(number), REQUEST, Completion("text", FinishReason.stop, 5, 1))
        await log.flush()
    damaged = run.child(cache.FOLDER).names()[0]
    run.child(cache.FOLDER).write(damaged, b"PAR1 and no more")
    again = CompletionLog.open(run, SHARD)
    assert [again.find(str(number), 100) is not None for number in range(2)] == [False, True]
    assert "completions are lost" in caplog.text and damaged in caplog.text


async def test_a_text_that_is_no_unicode_is_not_kept(run: Folder) -> None:
    log = CompletionLog(run, SHARD)
    log.add("key", REQUEST, Completion("\ud800", FinishReason.stop, 5, 1))
    assert not log.is_due(0)
    await log.flush()
    assert not run.child(cache.FOLDER).names()


def test_it_is_due_by_age_and_by_size(run: Folder) -> None:
    log = CompletionLog(run, SHARD)
    assert not log.is_due(0)
    log.add("key", REQUEST, Completion("text", FinishReason.stop, 5, 1))
    assert log.is_due(0) and not log.is_due(3600)
    log.add("key", REQUEST, Completion("x" * cache.FLUSH_BYTES, FinishReason.stop, 5, 1))
    assert log.is_due(3600)
