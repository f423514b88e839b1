"""What a run's folder holds: what is done, in flight, dead-lettered; and whether it is sound."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from medreason_dist.engines import cache
from medreason_dist.errors import MedReasonError, ReconcileError, RunError
from medreason_dist.generation.manifest import READERS
from medreason_dist.generation.plan import IMPLIED
from medreason_dist.generation.shards import Totals, count_shard
from medreason_dist.schemas import RejectReason, Status
from medreason_dist.storage import MANIFEST, Folder
from medreason_dist.streaming import isolation
from medreason_dist.streaming.plan import Plan, read_plan


@dataclass(frozen=True)
class Inspection:
    """The state of a run's folder."""

    uri: str
    finished: bool
    """Whether it has its manifest."""
    method: str
    """One of :class:`~medreason_dist.config.Method`."""
    shards: int
    questions: int
    done: list[str]
    in_flight: list[str]
    """Shards without traces that have completions already."""
    waiting: list[str]
    dead_letters: list[str]
    """Ids of the questions that ended their workers."""
    totals: Totals
    """Of the shards that are done."""
    faults: list[str]
    """What is damaged or does not add up; empty for a sound run."""


def inspect_run(run: Folder) -> Inspection:
    """Reads a run's folder, every file of it; raises :class:`RunError` where there is no run.

    A damaged file shows by Parquet's checksums, and once the run is finished by the digests in its manifest.
    """
    plan = read_plan(run, IMPLIED)
    if plan is None:
        raise RunError("there is no run: _plan.json is missing", run.uri, "set run.uri to a run's folder")
    traces = set(run.child("traces").names(".parquet"))
    missing = plan.shards.keys() - traces
    done = [shard for shard in plan.shards if shard in traces]
    started = {name.partition("/")[0].removesuffix(".parquet") for name in run.child(cache.FOLDER).names()}
    in_flight = [shard for shard in plan.shards if shard in missing and shard.removesuffix(".parquet") in started]
    totals, faults = _count(run, plan, done)
    manifest = run.read_json(MANIFEST) if run.exists(MANIFEST) else None
    if manifest is not None:
        faults += [f"{shard}: the run has its manifest, but the traces are missing" for shard in sorted(missing)]
        faults += _compare(manifest, totals) if not faults else []
    faults += [f"traces/{name} belongs to no shard of the plan" for name in sorted(traces - plan.shards.keys())]
    return Inspection(
        uri=run.uri,
        finished=manifest is not None,
        method=plan.depends_on["run.method"],
        shards=len(plan.shards),
        questions=sum(plan.shards.values()),
        done=done,
        in_flight=in_flight,
        waiting=[shard for shard in plan.shards if shard in missing and shard not in in_flight],
        dead_letters=[name.removesuffix(".json") for name in run.child(isolation.FOLDER).names(".json")],
        totals=totals,
        faults=faults,
    )


def format_inspection(found: Inspection) -> str:
    """Returns an inspection as text for a terminal."""
    tokens, totals = found.totals.tokens, found.totals
    reasons = ", ".join(f"{reason} {totals.reasons[reason]:,}" for reason in RejectReason if totals.reasons[reason])
    lines = [
        ("run", f"{found.uri}, {'finished' if found.finished else 'unfinished'}"),
        ("method", found.method),
        ("shards", f"{len(found.done):,} of {found.shards:,} done, {len(found.waiting):,} not begun"),
        ("in flight", ", ".join(found.in_flight) or "none"),
        ("questions", f"{totals.statuses.total():,} of {found.questions:,} have their verdict"),
        ("accepted", f"{totals.statuses[Status.accepted]:,}"),
        ("rejected", f"{totals.statuses[Status.rejected]:,}" + (f" ({reasons})" if reasons else "")),
        ("dead letters", ", ".join(found.dead_letters) or "none"),
        (
            "tokens",
            f"{tokens['prompt_tokens'] + tokens['completion_tokens']:,} spent by the start that finished a shard",
        ),
        ("", f"{tokens['replayed_tokens']:,} replayed from earlier starts"),
        ("sound", "no: " + "\n              ".join(found.faults) if found.faults else "yes"),
    ]
    return "\n".join(f"{name:<14}{text}" for name, text in lines)


def _count(run: Folder, plan: Plan, done: list[str]) -> tuple[Totals, list[str]]:
    def count(shard: str) -> Totals | str:
        try:
            return count_shard(run, shard, plan.shards[shard])
        except MedReasonError as error:
            return str(error) if isinstance(error, ReconcileError) else f"{shard}: {error}"

    totals, faults = Totals(), []
    with ThreadPoolExecutor(READERS) as pool:
        for counted in pool.map(count, done):
            if isinstance(counted, str):
                faults.append(counted)
            else:
                totals.add(counted)
    return totals, faults


def _compare(manifest: Mapping[str, Any], totals: Totals) -> list[str]:
    """Returns where a manifest does not say what the traces hold."""
    counted: dict[str, Any] = {
        "accepted": totals.statuses[Status.accepted],
        "rejected": totals.statuses[Status.rejected],
        "rejected_by_reason": dict(totals.reasons),
        "questions": totals.statuses.total(),
    }
    wrong = [
        f"{name} is not the file that the run wrote: its SHA-256 is another"
        for name, digest in totals.files.items()
        if manifest["files"].get(name) != digest
    ]
    wrong += [
        f"the manifest says {key} {manifest[key]}, the traces {value}"
        for key, value in counted.items()
        if manifest[key] != value
    ]
    read = manifest["dropped"] + manifest["beyond_limit"] + manifest["questions"]
    if manifest["rows_read"] != read:
        wrong.append(f"the manifest says {manifest['rows_read']} rows read, of which {read} are accounted for")
    return wrong
