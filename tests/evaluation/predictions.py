"""Predictions with known right answers, as rows and as the folder of a finished evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from medreason_dist.evaluation.score import summarise
from medreason_dist.schemas import PREDICTIONS
from medreason_dist.storage import MANIFEST, Folder

Sample = tuple[bool, bool, bool]
"""Whether it is right for the strict scorer, by the label that the authors' finds first, and by the last."""
RIGHT, WRONG = (True, True, True), (False, False, False)


def row(
    benchmark: str, question_id: str, samples: Sequence[Sample], model: str = "a model", **more: Any
) -> dict[str, Any]:
    """Returns a row of PREDICTIONS; ``more`` goes into each sample."""
    names = ("strict_correct", "authors_first_correct", "authors_last_correct")
    return {
        "question_id": question_id,
        "benchmark": benchmark,
        "model": model,
        "prompt": {"name": "reasoned", "version": "1", "sha256": "0"},
        "samples": [dict(zip(names, sample, strict=True)) | more for sample in samples],
    }


def rows(benchmark: str, samples: Sequence[Sample], model: str = "a model") -> list[dict[str, Any]]:
    """Returns a row for each sample, of questions q0000, q0001, …"""
    return [row(benchmark, f"q{number:04d}", [sample], model) for number, sample in enumerate(samples)]


def table(of: Sequence[dict[str, Any]]) -> pa.Table:
    """Returns rows as a table."""
    return pa.Table.from_pylist(list(of), PREDICTIONS)


def write_evaluation(path: Path, of: Sequence[dict[str, Any]]) -> Folder:
    """Returns the folder of a finished evaluation with these rows, in two shards."""
    folder, half = Folder(str(path)), len(of) // 2
    for number, part in enumerate((of[:half], of[half:])):
        folder.write_table(f"predictions/shard={number:05d}.parquet", table(part))
    folder.write_json(MANIFEST, {"scores": summarise(table(of))})
    return folder
