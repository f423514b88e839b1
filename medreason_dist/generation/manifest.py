"""The run's last record, ``_manifest.json``: a folder without it is unfinished, and readers refuse it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from medreason_dist.config import Config, to_dict
from medreason_dist.errors import ReconcileError
from medreason_dist.generation.forecast import compare
from medreason_dist.generation.plan import fingerprints
from medreason_dist.generation.shards import Totals, count_shard
from medreason_dist.schemas import RejectReason, Status
from medreason_dist.storage import MANIFEST, Folder
from medreason_dist.streaming.plan import Plan, package_versions

READERS: Final = 8
"""Threads that read shards: S3 answers one request in some 20 ms, many at once in the same time."""


def write_manifest(
    config: Config, run: Folder, plan: Plan, wall_s: float, s3_requests: Mapping[str, int]
) -> dict[str, Any]:
    """Writes and returns the run's manifest; its totals are counted anew from the files.

    ``wall_s`` and ``s3_requests``, by operation, are this start's.

    Raises :class:`ReconcileError` where a shard does not hold exactly one verdict for each of its questions.
    """
    totals = Totals()
    with ThreadPoolExecutor(READERS) as pool:
        for counted in pool.map(lambda shard: count_shard(run, *shard), plan.shards.items()):
            totals.add(counted)
    accepted, tokens = totals.statuses[Status.accepted], totals.tokens
    paid = tokens["prompt_tokens"] + tokens["completion_tokens"] + tokens["replayed_tokens"]
    manifest = {
        **plan.counts,
        "accepted": accepted,
        "rejected": totals.statuses[Status.rejected],
        "rejected_by_reason": {reason: totals.reasons[reason] for reason in RejectReason if totals.reasons[reason]},
        "shards": len(plan.shards),
        "usage": {
            **{key: tokens[key] for key in ("requests", "prompt_tokens", "completion_tokens", "replayed_tokens")},
            "tokens_per_accepted": round(paid / accepted, 1) if accepted else None,
            "by_stage": {stage: dict(counts) for stage, counts in totals.usage.items()},
        },
        "wall_s": round(wall_s, 3),
        "s3_requests": dict(sorted(s3_requests.items())),
        "forecast": compare(config, totals, wall_s),
        "files": dict(sorted(totals.files.items())),
        "config": to_dict(config),
        "fingerprints": fingerprints(plan.depends_on),
        "versions": package_versions(),
    }
    if manifest["questions"] != accepted + manifest["rejected"]:
        raise ReconcileError(f"{manifest['questions']} questions, but {accepted} + {manifest['rejected']} verdicts")
    run.write_json(MANIFEST, manifest)
    return manifest
