"""The plan of a run, ``_plan.json``: its shards, whose questions it fixes, and what its rows depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from medreason_dist.config import Config, Method, result_keys, to_dict
from medreason_dist.generation.shards import LAYOUT
from medreason_dist.ids import fingerprint
from medreason_dist.questions import prepare
from medreason_dist.questions.prepare import Selection
from medreason_dist.schemas import QUESTIONS, TRACES, schema_fingerprint
from medreason_dist.storage import MANIFEST, Folder
from medreason_dist.streaming.plan import Plan, Planning, write_plan

GRAPH: Final = "graph fingerprint"
IMPLIED: Final = {"run.method": Method.medreason.value}
"""See :class:`~medreason_dist.streaming.plan.Planning`."""


def plan_run(config: Config, run: Folder, graph_fingerprint: str | None) -> tuple[Plan, Selection | None]:
    """Returns the plan of the run's folder, and what has yet to be written of it; writes nothing.

    ``graph_fingerprint`` is None for a method without a graph. Raises as
    :meth:`~medreason_dist.streaming.plan.Planning.plan` does; another graph is another config.
    """
    wanted = {**result_keys(config), "run.limit": config.run.limit}
    if graph_fingerprint is not None:
        wanted[GRAPH] = graph_fingerprint
    planning = Planning(
        run=run,
        layout=LAYOUT,
        wanted=wanted,
        limit="run.limit",
        digest=lambda: prepare.digest_inputs(config),
        read=lambda planned: prepare.read_questions(config, planned),
        count=_count,
        implied=IMPLIED,
    )
    return planning.plan()


def write_questions(config: Config, run: Folder, plan: Plan, selection: Selection) -> Plan:
    """Writes the shards that ``plan`` does not have yet, and the plan that has them, which it returns."""
    # A run that is extended is unfinished again.
    run.delete(MANIFEST)
    size = config.run.shard_questions
    shards = prepare.write_questions(run, selection.questions, selection.dropped, plan.shards, size)
    plan = replace(plan, shards=shards)
    write_plan(run, plan, fingerprints(plan.depends_on), to_dict(config))
    return plan


def fingerprints(depends_on: Mapping[str, Any]) -> dict[str, str]:
    """Returns the digests of what a plan depends on, for its readers; ``graph`` only where there is one."""
    return {
        "config": fingerprint({k: v for k, v in depends_on.items() if k != GRAPH}),
        **({"graph": depends_on[GRAPH]} if GRAPH in depends_on else {}),
        "questions_schema": schema_fingerprint(QUESTIONS),
        "traces_schema": schema_fingerprint(TRACES),
    }


def _count(selection: Selection) -> dict[str, Any]:
    sources = {dataset: asdict(counts) for dataset, counts in selection.sources.items()}
    total = asdict(prepare.add_counts(selection.sources.values()))
    return {**total, "by_source": sources, "decontamination": selection.decontamination}
