"""An evaluation as one chain: plan → missing shards → workers → one file a shard → scores."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import pyarrow as pa

from medreason_dist.config import Config, evaluation_keys, to_dict
from medreason_dist.engines.base import Engine
from medreason_dist.evaluation import benchmarks
from medreason_dist.evaluation.benchmarks import Selection
from medreason_dist.evaluation.program import answer_question, fail_question
from medreason_dist.evaluation.score import summarise
from medreason_dist.ids import fingerprint
from medreason_dist.questions.prepare import write_questions
from medreason_dist.schemas import PREDICTIONS, QUESTIONS, schema_fingerprint
from medreason_dist.storage import MANIFEST, Folder, count_requests, hold_lease
from medreason_dist.streaming.plan import Plan, Planning, package_versions, write_plan
from medreason_dist.streaming.shards import Layout
from medreason_dist.streaming.stream import connect, work

LAYOUT: Final = Layout("predictions", QUESTIONS, PREDICTIONS)


@dataclass
class Answering:
    """A :class:`~medreason_dist.streaming.program.Program`: the benchmark's question as it stands."""

    config: Config
    layout = LAYOUT

    def open(self) -> None:
        """Has nothing to load."""

    async def run(self, question: Mapping[str, Any], engine: Engine, judge: Engine) -> dict[str, Any]:
        """Returns the prediction of a question."""
        return await answer_question(question, engine, self.config)

    def reject(self, question: Mapping[str, Any], why: str, engine: Engine, judge: Engine) -> dict[str, Any]:
        """Returns the prediction of a question that ended its workers: none, which counts as wrong."""
        return fail_question(question, why, engine, self.config)


def evaluate(config: Config) -> dict[str, Any]:
    """Does what is left of the evaluation at ``evaluate.uri`` and returns its manifest, which holds the scores.

    Raises :class:`~medreason_dist.errors.UserError` for input at fault, :class:`~medreason_dist.errors.RunStopped` after a
    signal, and :class:`~medreason_dist.errors.ReconcileError` where counts do not add up.
    """
    started = time.monotonic()
    config = replace(config, run=replace(config.run, uri=config.evaluate.uri), judge=None)
    run = Folder(config.evaluate.uri, config.storage)
    plan, selection = plan_evaluation(config, run)
    if selection is None and not LAYOUT.missing(run, plan.shards) and run.exists(MANIFEST):
        return dict(run.read_json(MANIFEST))
    connect(config)
    with hold_lease(run, "run") as require_held:
        if selection is not None:
            plan = _write_questions(config, run, plan, selection)
        missing = LAYOUT.missing(run, plan.shards)
        requests = work(config, Answering(config), plan.shards, missing) if missing else Counter()
        require_held()
        return write_manifest(config, run, plan, time.monotonic() - started, requests + Counter(count_requests()))


def plan_evaluation(config: Config, run: Folder) -> tuple[Plan, Selection | None]:
    """Returns the plan of the evaluation's folder, and what has yet to be written of it; writes nothing.

    Raises as :meth:`~medreason_dist.streaming.plan.Planning.plan` does.
    """
    planning = Planning(
        run=run,
        layout=LAYOUT,
        wanted={
            **evaluation_keys(config),
            "run.shard_questions": config.run.shard_questions,
            "evaluate.limit": config.evaluate.limit,
        },
        limit="evaluate.limit",
        digest=lambda: benchmarks.digest_benchmarks(config),
        read=lambda planned: benchmarks.read_questions(config, planned),
        # Evaluations from before there was this key have none.
        implied={"evaluate.system_prompt": None},
        count=lambda selection: {"benchmarks": {name: asdict(each) for name, each in selection.benchmarks.items()}},
    )
    return planning.plan()


def read_predictions(run: Folder, plan: Plan) -> pa.Table:
    """Returns all predictions; raises as :meth:`~medreason_dist.streaming.shards.Layout.read` does."""
    return pa.concat_tables(
        [PREDICTIONS.empty_table(), *(LAYOUT.read(run, shard, count)[0] for shard, count in plan.shards.items())]
    )


def write_manifest(
    config: Config, run: Folder, plan: Plan, wall_s: float, s3_requests: Mapping[str, int]
) -> dict[str, Any]:
    """Writes and returns the evaluation's manifest; its scores are computed anew from the files."""
    manifest = {
        **plan.counts,
        "shards": len(plan.shards),
        "scores": summarise(read_predictions(run, plan)),
        "wall_s": round(wall_s, 3),
        "s3_requests": dict(sorted(s3_requests.items())),
        "config": to_dict(config),
        "fingerprints": _fingerprints(plan),
        "versions": package_versions(),
    }
    run.write_json(MANIFEST, manifest)
    return manifest


def _write_questions(config: Config, run: Folder, plan: Plan, selection: Selection) -> Plan:
    run.delete(MANIFEST)
    size = config.run.shard_questions
    shards = write_questions(run, selection.questions, selection.left_out, plan.shards, size)
    plan = replace(plan, shards=shards)
    write_plan(run, plan, _fingerprints(plan), to_dict(config))
    return plan


def _fingerprints(plan: Plan) -> dict[str, str]:
    return {"config": fingerprint(dict(plan.depends_on)), "predictions_schema": schema_fingerprint(PREDICTIONS)}
