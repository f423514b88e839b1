"""What the card says of a dataset in figures, counted from the traces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medreason_dist.errors import ReconcileError
from medreason_dist.publishing.source import Source
from medreason_dist.schemas import Status

SCORES: Final = ("coverage", "support", "off_path")
QUANTILES: Final = (0.1, 0.5, 0.9)


@dataclass
class Summary:
    """Counts over all traces, and over the accepted ones what their rows hold."""

    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    datasets: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    judges: Counter[str] = field(default_factory=Counter)
    prompts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Stage, version and SHA-256."""
    words: list[int] = field(default_factory=list)
    """Of each reasoning."""
    scores: dict[str, list[float]] = field(default_factory=lambda: {score: [] for score in SCORES})
    """Of those rows that have one."""

    @property
    def accepted(self) -> int:
        """Rows of the dataset."""
        return self.statuses[Status.accepted]

    def add(self, traces: pa.Table) -> None:
        """Counts one shard's traces."""
        self.statuses.update(traces["status"].to_pylist())
        self.reasons.update(reason for reason in traces["reject_reason"].to_pylist() if reason)
        for row in accepted_rows(traces):
            self.datasets[row["dataset"]] += 1
            self.models[row["model"]] += 1
            self.judges[row["judge"]["by"]] += 1
            self.prompts.update((p["stage"], p["version"], p["sha256"]) for p in row["prompts"])
            self.words.append(len(row["reasoning"].split()))
            for score, values in self.scores.items():
                if (value := (row["grounding"] or {}).get(score)) is not None:
                    values.append(value)

    def quantiles(self) -> Mapping[str, tuple[float, ...]]:
        """Returns the quantiles :data:`QUANTILES` of words and scores, none where no row has a value."""
        columns: dict[str, list[Any]] = {"words of a reasoning": self.words, **self.scores}
        return {name: tuple(np.quantile(values, QUANTILES).tolist()) for name, values in columns.items() if values}


def summarise(source: Source) -> Summary:
    """Returns the figures of a run; :class:`ReconcileError` where they are not those of its manifest."""
    summary = Summary()
    for table in source.tables():
        summary.add(table)
    counted = summary.accepted, summary.statuses[Status.rejected]
    if source.finished and counted != (source.record["accepted"], source.record["rejected"]):
        raise ReconcileError(
            f"{source.folder.uri}: the traces have {counted} accepted and rejected, not its manifest's"
        )
    return summary


def accepted_rows(traces: pa.Table) -> Iterable[dict[str, Any]]:
    """Returns the accepted rows of a table of traces."""
    rows: list[dict[str, Any]] = traces.filter(pc.equal(traces["status"], Status.accepted.value)).to_pylist()
    return rows
