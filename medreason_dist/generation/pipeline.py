"""The main job as one chain: plan → missing shards → workers → one file a shard → manifest."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import ray

from medreason_dist.config import Config
from medreason_dist.errors import RunStopped
from medreason_dist.generation import cluster
from medreason_dist.generation.isolation import finish_in_isolation
from medreason_dist.generation.manifest import write_manifest
from medreason_dist.generation.plan import Plan, missing_shards, plan_run, write_plan
from medreason_dist.generation.progress import Order, Progress, ProgressLine, start_board
from medreason_dist.generation.stopping import Stopping
from medreason_dist.generation.worker import Worker, require_engines
from medreason_dist.graph.embeddings import require_embeddings
from medreason_dist.graph.store import require_manifest
from medreason_dist.storage import MANIFEST, Folder, count_requests, hold_lease


def generate(config: Config) -> dict[str, Any]:
    """Does what is left of the run at ``run.uri`` and returns its manifest. Nothing is left of a finished run.

    Raises :class:`~medreason_dist.errors.UserError` for input at fault, most of it before anything is written,
    :class:`~medreason_dist.errors.RunStopped` after a signal, and :class:`~medreason_dist.errors.ReconcileError` where
    counts do not add up.
    """
    started = time.monotonic()
    run, graph = Folder(config.run.uri, config.storage), Folder(config.graph.uri, config.storage)
    manifest = require_manifest(graph)
    require_embeddings(graph, config.embeddings)
    cluster.connect(config.workers)
    # A model's folder has to be where the workers are, which need not be here.
    check = ray.remote(num_cpus=0, num_gpus=config.workers.num_gpus)(require_engines)
    with cluster.unwrapped_errors():
        ray.get(check.remote(config))
    plan, selection = plan_run(config, run, manifest["fingerprint"])
    if selection is None and not missing_shards(plan, run) and run.exists(MANIFEST):
        return dict(run.read_json(MANIFEST))
    with hold_lease(run, "run") as require_held:
        if selection is not None:
            plan = write_plan(config, run, plan, selection)
        missing = missing_shards(plan, run)
        requests = work(config, plan, missing) if missing else Counter()
        require_held()
        return write_manifest(config, run, plan, time.monotonic() - started, requests + Counter(count_requests()))


def work(config: Config, plan: Plan, missing: Sequence[str]) -> Counter[str]:
    """Writes the traces of the missing shards; those that end their workers last, each by itself.

    Returns the workers' requests to S3.
    """
    board = start_board()
    done, questions = len(plan.shards) - len(missing), sum(plan.shards[shard] for shard in missing)
    set_aside = []
    with (
        Stopping(board, config.run.drain_s) as stopping,
        ProgressLine(board, len(plan.shards), done, questions) as line,
    ):
        for row in run_shards(config, missing, Progress(board)):
            if row["order"] == Order.work:
                line.shard_done()
            elif row["order"] == Order.set_aside:
                set_aside.append(row["shard"])
            if stopping.requested and not ray.get(board.active.remote()):
                break
        for shard in set_aside:
            if not stopping.requested and finish_in_isolation(config, shard, Progress(board)) is Order.work:
                line.shard_done()
        if stopping.requested:
            left = len(plan.shards) - line.done
            raise RunStopped(f"stopped with {left} of {len(plan.shards)} shards left; the same command resumes the run")
        return Counter(ray.get(board.s3_requests.remote()))


def run_shards(config: Config, shards: Sequence[str], progress: Progress) -> Iterator[dict[str, Any]]:
    """Yields one row for each shard, in any order: its name and the :class:`Order` that was carried out."""
    workers = config.workers
    pool = ray.data.ActorPoolStrategy(
        size=min(workers.count, len(shards)),
        max_tasks_in_flight_per_actor=workers.shards_in_flight,
        max_concurrent_calls_per_actor=workers.shards_in_flight,
    )
    stream = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards)).map_batches(
        Worker,
        fn_constructor_kwargs={"config": config, "progress": progress},
        batch_size=1,
        compute=pool,
        num_cpus=workers.num_cpus,
        num_gpus=workers.num_gpus,
    )
    with cluster.unwrapped_errors():
        yield from stream.iter_rows()
