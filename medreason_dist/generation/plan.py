"""The plan of a run, ``_plan.json``: its shards, whose questions it fixes, and what its rows depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from medreason_dist.config import Config, result_keys, to_dict
from medreason_dist.errors import RunError
from medreason_dist.generation.shards import LAYOUT
from medreason_dist.ids import fingerprint
from medreason_dist.questions.prepare import Selection, add_counts, digest_inputs, read_questions, write_questions
from medreason_dist.schemas import QUESTIONS, TRACES, schema_fingerprint
from medreason_dist.storage import MANIFEST, Folder
from medreason_dist.streaming.plan import PLAN, Plan, other_config, package_versions, read_plan


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
        raise other_config(stored.depends_on, wanted, run)
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
    counts["decontamination"] = selection.decontamination
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


def fingerprints(depends_on: Mapping[str, Any]) -> dict[str, str]:
    """Returns the digests of what a plan depends on, for its readers."""
    return {
        "config": fingerprint({k: v for k, v in depends_on.items() if k != "graph fingerprint"}),
        "graph": depends_on["graph fingerprint"],
        "questions_schema": schema_fingerprint(QUESTIONS),
        "traces_schema": schema_fingerprint(TRACES),
    }


def _may_extend(stored: Plan, wanted: Mapping[str, Any]) -> bool:
    """Whether a config differs from the stored one's in nothing but a larger limit."""
    before, now = stored.depends_on["run.limit"], wanted["run.limit"]
    larger = before == now or now is None or (before is not None and now > before)
    return larger and {**stored.depends_on, "run.limit": now} == wanted


def _read_identities(run: Folder, shards: Mapping[str, int]) -> set[str]:
    tables = (LAYOUT.read_questions(run, shard) for shard in shards)
    return {identity for table in tables for identity in table["question_id"].to_pylist()}
