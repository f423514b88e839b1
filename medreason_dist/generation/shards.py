"""One shard: its traces are written whole under their final name, once every question has a verdict, and counted.

What has no such file is left to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from medreason_dist.errors import ReconcileError
from medreason_dist.schemas import QUESTIONS, TRACES
from medreason_dist.storage import Folder


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


def write_traces(run: Folder, shard: str, questions: pa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a shard's traces, in the order of its questions, unless another worker has written them.

    ``rows[i]`` holds what the program found of ``questions[i]``. Raises :class:`ReconcileError` where the two do not
    match one to one.
    """
    if len(rows) != questions.num_rows:
        raise ReconcileError(f"shard {shard} has {questions.num_rows} questions but {len(rows)} traces")
    asked = questions.select([name for name in questions.column_names if name in TRACES.names]).to_pylist()
    traces = pa.Table.from_pylist([{**question, **row} for question, row in zip(asked, rows, strict=True)], TRACES)
    # Of two workers on one shard the first one's traces stay.
    run.create_table(f"traces/{shard}", traces)


def count_shard(run: Folder, shard: str, questions: int) -> Totals:
    """Returns what a shard's traces hold, read anew.

    Raises :class:`ReconcileError` where they are not exactly one verdict for each of its planned ``questions``,
    :class:`StorageError` where a file is missing or damaged.
    """
    traces, digest = run.read_digested(f"traces/{shard}", TRACES)
    asked = run.read_table(f"questions/{shard}", QUESTIONS)["question_id"].to_pylist()
    answered = traces["question_id"].to_pylist()
    if len(asked) != questions or asked != answered or len(set(asked)) != questions:
        raise ReconcileError(f"{shard}: planned {questions}, questions {len(asked)}, traces {len(answered)}")
    totals = Totals(Counter(traces["status"].to_pylist()), files={f"traces/{shard}": digest})
    totals.reasons.update(reason for reason in traces["reject_reason"].to_pylist() if reason)
    for used in traces["usage"].combine_chunks().flatten().to_pylist():
        totals.usage.setdefault(used.pop("stage"), Counter()).update(used)
    return totals
