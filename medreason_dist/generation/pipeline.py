"""The main job as one chain: plan → missing shards → workers → one file a shard → manifest."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pyarrow as pa

from medreason_dist.config import Config, Method
from medreason_dist.errors import RunError
from medreason_dist.generation import forecast
from medreason_dist.generation.manifest import write_manifest
from medreason_dist.generation.plan import plan_run, write_questions
from medreason_dist.generation.program import Reasoning
from medreason_dist.generation.shards import LAYOUT
from medreason_dist.graph.embeddings import require_embeddings
from medreason_dist.questions.prepare import Selection
from medreason_dist.schemas import QUESTIONS
from medreason_dist.storage import MANIFEST, Folder, count_requests, hold_lease
from medreason_dist.streaming.plan import Plan
from medreason_dist.streaming.sample import run_sample
from medreason_dist.streaming.stream import connect, work


def generate(config: Config) -> dict[str, Any]:
    """Does what is left of the run at ``run.uri`` and returns its manifest. Nothing is left of a finished run.

    Raises :class:`~medreason_dist.errors.UserError` for input at fault, most of it before anything is written,
    :class:`~medreason_dist.errors.RunStopped` after a signal, and :class:`~medreason_dist.errors.ReconcileError` where
    counts do not add up.
    """
    started = time.monotonic()
    run, plan, selection = _begin(config)
    if config.plan.file is not None:
        forecast.read_forecast(config, config.plan.file, "plan.file")
    if selection is None and not LAYOUT.missing(run, plan.shards) and run.exists(MANIFEST):
        return dict(run.read_json(MANIFEST))
    with hold_lease(run, "run") as require_held:
        if selection is not None:
            plan = write_questions(config, run, plan, selection)
        missing = LAYOUT.missing(run, plan.shards)
        requests = work(config, Reasoning(config), plan.shards, missing) if missing else Counter()
        require_held()
        return write_manifest(config, run, plan, time.monotonic() - started, requests + Counter(count_requests()))


def plan(config: Config) -> tuple[forecast.Rates, dict[str, Any]]:
    """Returns what is expected of the questions that are left of the run at ``run.uri``, and by what rates.

    Writes nothing but ``plan.file``. Raises as :func:`generate` does, and :class:`~medreason_dist.errors.ConfigError`
    where nothing is left to do or ``plan.rates`` is no forecast.
    """
    started = time.monotonic()
    rates = forecast.read_rates(config)
    run, plan, selection = _begin(config)
    left = _read_left(run, plan, selection)
    datasets = left["dataset"].to_pylist()
    if not datasets:
        raise RunError(
            "nothing is left to plan: every question of the run has its verdict", run.uri, "give another run.uri"
        )
    if rates is None:
        chosen = left.take(forecast.choose_sample(datasets, config.plan.sample))
        prepared_s = time.monotonic() - started
        sample = run_sample(config, Reasoning(config), chosen)
        rates = forecast.measure_rates(sample, chosen["dataset"].to_pylist(), prepared_s)
    expected = forecast.expect(config, datasets, rates)
    forecast.write_forecast(config, rates, expected)
    return rates, expected


def _begin(config: Config) -> tuple[Folder, Plan, Selection | None]:
    """Returns the run's folder, its plan, and what has yet to be written of it, once all of the config has been tried."""
    run = Folder(config.run.uri, config.storage)
    graph_fingerprint = None
    if config.run.method is Method.medreason:
        graph = Folder(config.graph.uri, config.storage)
        graph_fingerprint = str(require_embeddings(graph, config.embeddings)["graph_fingerprint"])
    connect(config)
    return run, *plan_run(config, run, graph_fingerprint)


def _read_left(run: Folder, plan: Plan, selection: Selection | None) -> pa.Table:
    """Returns the questions without traces: those of planned shards, and those that come to them."""
    new = selection.questions[sum(plan.shards.values()) :] if selection else []
    planned = [LAYOUT.read_questions(run, shard) for shard in LAYOUT.missing(run, plan.shards)]
    return pa.concat_tables([*planned, pa.Table.from_pylist(new, schema=QUESTIONS)])
