"""Metrics on Ray's own Prometheus endpoint, beside Ray's; ``infra/grafana/medreason.json`` draws them.

    ray_medreason_questions_total{run, status, reason}   questions that got their verdict
    ray_medreason_tokens_total{run, stage, kind}         kind: prompt, completion, or replayed (kept, not spent again)
    ray_medreason_requests_total{run, stage}             requests, those that were replayed too
    ray_medreason_engine_requests{run}                   requests that an engine is at work on: its batch

A shard that is done again counts again: these tell how a run goes, its manifest what it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge

from medreason_dist.engines.watch import WatchedEngine


class Metrics:
    """A worker's metrics of the run at ``uri``."""

    def __init__(self, uri: str) -> None:
        self._run = {"run": uri}
        self._questions = Counter("medreason_questions", "Questions with a verdict", ("run", "status", "reason"))
        self._tokens = Counter("medreason_tokens", "Tokens spent or replayed", ("run", "stage", "kind"))
        self._requests = Counter("medreason_requests", "Requests completed or replayed", ("run", "stage"))
        self._batch = Gauge("medreason_engine_requests", "Requests that an engine is at work on", ("run",))

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts a question that has its row."""
        verdict = {"status": str(row["status"]), "reason": str(row.get("reject_reason") or "")}
        self._questions.inc(1, {**self._run, **verdict})
        for used in row["usage"]:
            stage = {**self._run, "stage": str(used["stage"])}
            self._requests.inc(used["requests"], stage)
            for kind in ("prompt", "completion", "replayed"):
                if count := used[f"{kind}_tokens"]:
                    self._tokens.inc(count, {**stage, "kind": kind})

    def show(self, engines: Iterable[WatchedEngine]) -> None:
        """Shows how many requests the engines are at work on."""
        self._batch.set(sum(engine.pending for engine in engines), self._run)
