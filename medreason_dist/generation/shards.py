"""A run's traces: where they lie, and what they add up to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from medreason_dist.schemas import QUESTIONS, TRACES
from medreason_dist.storage import Folder
from medreason_dist.streaming.shards import Layout

LAYOUT: Final = Layout("traces", QUESTIONS, TRACES)


@dataclass
class Totals:
    """What traces hold, added up."""

    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    usage: dict[str, Counter[str]] = field(default_factory=dict)
    """By stage: requests, prompt_tokens, completion_tokens, replayed_tokens."""
    files: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of each file of traces."""

    def add(self, other: Totals) -> None:
        """Adds those of more traces."""
        self.statuses.update(other.statuses)
        self.reasons.update(other.reasons)
        self.files.update(other.files)
        for stage, used in other.usage.items():
            self.usage.setdefault(stage, Counter()).update(used)

    @property
    def tokens(self) -> Counter[str]:
        """The sums over all stages."""
        return sum(self.usage.values(), Counter())


def count_shard(run: Folder, shard: str, questions: int) -> Totals:
    """Returns what a shard's traces hold; raises as :meth:`~medreason_dist.streaming.shards.Layout.read` does."""
    traces, digest = LAYOUT.read(run, shard, questions)
    totals = Totals(Counter(traces["status"].to_pylist()), files={f"{LAYOUT.results}/{shard}": digest})
    totals.reasons.update(reason for reason in traces["reject_reason"].to_pylist() if reason)
    for used in traces["usage"].combine_chunks().flatten().to_pylist():
        totals.usage.setdefault(used.pop("stage"), Counter()).update(used)
    return totals
