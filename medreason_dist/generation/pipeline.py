"""The main job as one chain: plan → missing shards → workers → one file a shard → manifest."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext

from medreason_dist.config import Config
from medreason_dist.generation.progress import Board, Progress, ProgressLine
from medreason_dist.generation.shards import missing_shards, plan_run, write_manifest
from medreason_dist.generation.worker import Worker
from medreason_dist.graph.store import read_manifest
from medreason_dist.storage import Folder


def generate(config: Config) -> dict[str, Any]:
    """Does what is left of the run at ``run.uri`` and returns its manifest.

    Raises :class:`~medreason_dist.errors.UserError` for input at fault, and
    :class:`~medreason_dist.errors.ReconcileError` where counts do not add up.
    """
    started = time.monotonic()
    run = Folder(config.run.uri, config.storage)
    graph = read_manifest(Folder(config.graph.uri, config.storage))
    plan = plan_run(config, run, graph["fingerprint"])
    missing = missing_shards(plan, run)
    if missing:
        start_ray()
        board = Board.remote()
        done, questions = len(plan.shards) - len(missing), sum(plan.shards[shard] for shard in missing)
        with ProgressLine(board, len(plan.shards), done, questions) as line:
            for _ in run_shards(config, missing, Progress(board)):
                line.shard_done()
    return write_manifest(config, run, plan, time.monotonic() - started)


def run_shards(config: Config, shards: Sequence[str], progress: Progress) -> Iterator[dict[str, Any]]:
    """Yields one row for each shard as its traces have been written, in any order."""
    workers = config.workers
    pool = ActorPoolStrategy(
        size=min(workers.count, len(shards)),
        max_tasks_in_flight_per_actor=workers.shards_in_flight,
        max_concurrent_calls_per_actor=workers.shards_in_flight,
    )
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    done = (
        ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        .map_batches(
            Worker,
            fn_constructor_kwargs={"config": config, "progress": progress},
            batch_size=1,
            compute=pool,
            num_cpus=workers.num_cpus,
            num_gpus=workers.num_gpus,
            max_restarts=3,
        )
        .iter_rows(prefetch_batches=0)
    )
    yield from done


def start_ray() -> None:
    """Connects to the cluster of ``RAY_ADDRESS`` (which ``ray job submit`` sets), or starts Ray on this machine."""
    if ray.is_initialized():
        return
    if "RAY_ADDRESS" in os.environ:
        ray.init()
    else:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning")
