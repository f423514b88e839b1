"""How long an engine has been silent while requests wait for it."""

from __future__ import annotations

import time

from medreason_dist.engines.base import Completion, Engine, Request


class WatchedEngine:
    """An engine that knows since when it has completed nothing."""

    def __init__(self, engine: Engine) -> None:
        self.model = engine.model
        self._engine = engine
        self.pending = 0
        """Requests that wait for their completions."""
        self._last = 0.0

    @property
    def silent_s(self) -> float:
        """Seconds since the last completion, or since the first request that waits; 0 where none does."""
        return time.monotonic() - self._last if self.pending else 0.0

    async def complete(self, request: Request) -> Completion:
        """See :meth:`medreason_dist.engines.base.Engine.complete`."""
        if not self.pending:
            self._last = time.monotonic()
        self.pending += 1
        try:
            return await self._engine.complete(request)
        finally:
            self.pending -= 1
            self._last = time.monotonic()

    def count_tokens(self, text: str) -> int:
        """Returns how many tokens ``text`` takes."""
        return self._engine.count_tokens(text)

    async def close(self) -> None:
        """Frees what the engine holds."""
        await self._engine.close()
