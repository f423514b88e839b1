"""A trace as a row of the published dataset, and the split that it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from medreason_dist.ids import derive_seed
from medreason_dist.report.text import describe_path
from medreason_dist.schemas import PUBLISHED, RELEASED_OPTIONS

_SCORES = ("coverage", "support", "off_path")


def choose_split(question_id: str, shares: Mapping[str, float]) -> str:
    """Returns the split of a question. It depends on the id and the shares alone, so that no other row moves it."""
    # Hashed anew: ids are in order, and a run with a limit has the first of them.
    place = derive_seed("split", question_id) / 2**31
    for split, share in shares.items():
        place -= share
        if place < 0:
            return split
    # Shares may sum to a little less than 1.
    return max(shares, key=lambda split: shares[split])


def publish_row(trace: Mapping[str, Any], run: str) -> dict[str, Any]:
    """Returns an accepted trace as a row of :data:`~medreason_dist.schemas.PUBLISHED`; ``run`` identifies its run."""
    grounding = trace["grounding"] or {}
    named = {
        "dataset_name": trace["dataset"],
        "options": RELEASED_OPTIONS + "\n".join(list_options(trace)) if trace["options"] else "",
        "judged_by": trace["judge"]["by"],
        "paths": [describe_path(path) for path in trace["paths"]],
        "run": run,
        **{score: grounding.get(score) for score in _SCORES},
    }
    return {column: named[column] if column in named else trace[column] for column in PUBLISHED.names}


def list_options(trace: Mapping[str, Any], labels: Iterable[str] | None = None) -> list[str]:
    """Returns the options of a trace, or those with these labels, each as ``A. text``."""
    options = trace["options"] or []
    wanted = {option["label"] for option in options} if labels is None else set(labels)
    return [f"{option['label']}. {option['text']}" for option in options if option["label"] in wanted]
