"""Completions that are never paid for twice: those of a shard, kept beside the run while it is worked on.

    completions/<shard>/<worker>-<n>.parquet    parts, each written once: what a worker got since its last flush
    completions/<shard>.parquet                 all of them, once the shard is done

Two workers on one shard write parts of different names. After eight parts a worker writes one that holds what they held
and deletes them. A part that cannot be read is lost work, not an error.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from dataclasses import asdict, replace
from typing import Any, Final

import pyarrow as pa

from medreason_dist.engines.base import Completion, Engine, FinishReason, Request
from medreason_dist.errors import StorageError
from medreason_dist.ids import fingerprint
from medreason_dist.schemas import COMPLETIONS
from medreason_dist.storage import Folder

logger = logging.getLogger(__name__)

FOLDER: Final = "completions"
MAX_PARTS: Final = 8
FLUSH_BYTES: Final = 1024**2
"""Of text not yet written, from which on it is written whatever its age."""


class CompletionLog:
    """The completions of one shard. For one event loop."""

    def __init__(self, run: Folder, shard: str) -> None:
        self._folder = run.child(FOLDER)
        self._shard = shard.removesuffix(".parquet")
        self._worker = uuid.uuid4().hex[:12]
        self._known: dict[str, dict[str, Any]] = {}
        self._mine: list[dict[str, Any]] = []
        self._written = 0
        self._unwritten_bytes = 0
        self._parts: list[str] = []
        self._flushed = time.monotonic()
        self._writing = asyncio.Lock()

    @classmethod
    def open(cls, run: Folder, shard: str) -> CompletionLog:
        """Returns a shard's log with what earlier workers wrote; raises :class:`StorageError` where none can be read."""
        log = cls(run, shard)
        whole = f"{log._shard}.parquet"
        for name in [*log._list_parts(), *([whole] if log._folder.exists(whole) else [])]:
            log._known.update((row["key"], row) for row in log._read(name))
        return log

    def find(self, key: str, max_tokens: int) -> Completion | None:
        """Returns a request's completion as it would come again, or None.

        One that its token limit ended would go on under a greater one.
        """
        row = self._known.get(key)
        if row is None:
            return None
        ended = row["finish_reason"] == FinishReason.stop
        if row["max_tokens"] != max_tokens and not (ended and row["completion_tokens"] <= max_tokens):
            return None
        reason = FinishReason(row["finish_reason"])
        return Completion(row["text"], reason, row["prompt_tokens"], row["completion_tokens"], replayed=True)

    def add(self, key: str, request: Request, completion: Completion) -> None:
        """Keeps a completion until the next flush writes it; not one whose text is no Unicode, which Parquet refuses."""
        if any("\ud800" <= letter <= "\udfff" for letter in completion.text):
            return
        row = asdict(completion) | {"key": key, "stage": request.stage, "max_tokens": request.max_tokens}
        del row["replayed"]
        self._mine.append(row)
        self._unwritten_bytes += len(completion.text)

    def is_due(self, age_s: float) -> bool:
        """Returns whether completions have been waiting for ``age_s`` seconds or take more than a mebibyte."""
        old = time.monotonic() - self._flushed >= age_s
        return self._written < len(self._mine) and (old or self._unwritten_bytes >= FLUSH_BYTES)

    async def flush(self) -> None:
        """Writes what is not written yet; raises :class:`StorageError`, after which it is still to be written."""
        async with self._writing:
            count = len(self._mine)
            if self._written == count:
                return
            merged = self._parts if len(self._parts) >= MAX_PARTS else []
            name = f"{self._shard}/{self._worker}-{count:06d}.parquet"
            await self._write(name, self._mine[0 if merged else self._written : count])
            self._parts = [*([] if merged else self._parts), name]
            self._written, self._flushed = count, time.monotonic()
            self._unwritten_bytes = sum(len(row["text"]) for row in self._mine[count:])
            await asyncio.to_thread(self._folder.delete_all, merged)

    async def close(self) -> None:
        """Writes all of the shard's completions as one file and deletes the parts; raises :class:`StorageError`."""
        async with self._writing:
            rows = {**self._known, **{row["key"]: row for row in self._mine}}
            await self._write(f"{self._shard}.parquet", list(rows.values()))
            # A flush that has been waiting meanwhile finds nothing to write.
            self._written, self._unwritten_bytes = len(self._mine), 0
            await asyncio.to_thread(lambda: self._folder.delete_all(self._list_parts()))

    async def _write(self, name: str, rows: list[dict[str, Any]]) -> None:
        table = pa.Table.from_pylist(rows, COMPLETIONS)
        await asyncio.to_thread(self._folder.write_table, name, table)

    def _list_parts(self) -> list[str]:
        return [f"{self._shard}/{part}" for part in self._folder.child(self._shard).names(".parquet")]

    def _read(self, name: str) -> list[dict[str, Any]]:
        try:
            rows: list[dict[str, Any]] = self._folder.read_table(name, COMPLETIONS).to_pylist()
        except StorageError as error:
            if self._folder.exists(name):
                logger.warning("completions are lost: %s", error)
            return []
        return rows


class CachedEngine:
    """An engine whose completions go into a shard's log, and come from there where it has them."""

    def __init__(self, engine: Engine, revision: str | None, log: CompletionLog) -> None:
        self.model = engine.model
        self._engine = engine
        self._revision = revision
        self._log = log

    async def complete(self, request: Request) -> Completion:
        """See :meth:`medreason_dist.engines.base.Engine.complete`."""
        key = request_key(self.model, self._revision, request)
        found = self._log.find(key, request.max_tokens)
        if found is not None:
            return found
        completion = await self._engine.complete(request)
        self._log.add(key, request, completion)
        return completion

    def count_tokens(self, text: str) -> int:
        """Returns how many tokens ``text`` takes."""
        return self._engine.count_tokens(text)

    async def close(self) -> None:
        """Leaves the engine, which others share, open."""


def request_key(model: str, revision: str | None, request: Request) -> str:
    """Returns the SHA-256 (64 hex digits) of all on which a completion depends but its token limit."""
    asked = asdict(replace(request, max_tokens=0))
    kind = type(request.constraint).__name__
    return fingerprint({"model": model, "revision": revision, "constraint": kind, "request": asked})
