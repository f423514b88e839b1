"""The main job as one chain: plan → missing shards → workers → one file a shard → manifest."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import ray

from medreason_dist.config import Config
from medreason_dist.generation import cluster
from medreason_dist.generation.progress import Board, Progress, ProgressLine
from medreason_dist.generation.shards import missing_shards, plan_run, write_manifest
from medreason_dist.generation.worker import Worker, require_engines
from medreason_dist.graph.embeddings import require_embeddings
from medreason_dist.graph.store import require_manifest
from medreason_dist.storage import MANIFEST, Folder


def generate(config: Config) -> dict[str, Any]:
    """Does what is left of the run at ``run.uri`` and returns its manifest. Nothing is left of a finished run.

    Raises :class:`~medreason_dist.errors.UserError` for input at fault, most of it before anything is written, and
    :class:`~medreason_dist.errors.ReconcileError` where counts do not add up.
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
    plan = plan_run(config, run, manifest["fingerprint"])
    missing = missing_shards(plan, run)
    if not missing and run.exists(MANIFEST):
        return dict(run.read_json(MANIFEST))
    if missing:
        board = ray.remote(num_cpus=0)(Board).remote()
        done, questions = len(plan.shards) - len(missing), sum(plan.shards[shard] for shard in missing)
        with ProgressLine(board, len(plan.shards), done, questions) as line:
            for _ in run_shards(config, missing, Progress(board)):
                line.shard_done()
    return write_manifest(config, run, plan, time.monotonic() - started)


def run_shards(config: Config, shards: Sequence[str], progress: Progress) -> Iterator[dict[str, Any]]:
    """Yields one row for each shard as its traces have been written, in any order."""
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
