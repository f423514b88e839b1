"""The stream: missing shards → workers → one file of rows a shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray

from medreason_dist.config import Config
from medreason_dist.errors import RunStopped
from medreason_dist.streaming import cluster
from medreason_dist.streaming.isolation import finish_in_isolation
from medreason_dist.streaming.program import Program
from medreason_dist.streaming.progress import Order, Progress, ProgressLine, start_board
from medreason_dist.streaming.stopping import Stopping
from medreason_dist.streaming.worker import Worker, require_engines


def connect(config: Config) -> None:
    """Connects to Ray as :func:`~medreason_dist.streaming.cluster.connect` does; raises :class:`ModelError` where a
    worker clearly could not open its engines."""
    cluster.connect(config.workers)
    # A model's folder has to be where the workers are, which need not be here.
    check = ray.remote(num_cpus=0, num_gpus=config.workers.num_gpus)(require_engines)
    with cluster.unwrapped_errors():
        ray.get(check.remote(config))


def work(config: Config, program: Program, shards: Mapping[str, int], missing: Sequence[str]) -> Counter[str]:
    """Writes the rows of the missing shards; those that end their workers last, each by itself.

    ``shards`` maps all shards of the run at ``config.run.uri`` to their numbers of questions. Returns the workers'
    requests to S3, by operation. Raises :class:`~medreason_dist.errors.RunStopped` after a signal.
    """
    board = start_board(min(config.workers.count, len(missing)))
    set_aside = []
    left = sum(shards[shard] for shard in missing)
    with (
        Stopping(board, config.run.drain_s) as stopping,
        ProgressLine(board, len(shards), len(shards) - len(missing), left) as line,
    ):
        for row in run_shards(config, program, missing, Progress(board)):
            if row["order"] == Order.work:
                line.shard_done()
            elif row["order"] == Order.set_aside:
                set_aside.append(row["shard"])
            if stopping.requested and not ray.get(board.active.remote()):
                break
        for shard in set_aside:
            if not stopping.requested and finish_in_isolation(config, program, shard, Progress(board)) is Order.work:
                line.shard_done()
        if stopping.requested:
            what = f"stopped with {len(shards) - line.done} of {len(shards)} shards left"
            raise RunStopped(f"{what}; the same command resumes the run")
        return Counter(ray.get(board.s3_requests.remote()))


def run_shards(config: Config, program: Program, shards: Sequence[str], progress: Progress) -> Iterator[dict[str, Any]]:
    """Yields one row for each shard, in any order: its name and the :class:`Order` that was carried out."""
    workers = config.workers
    pool = ray.data.ActorPoolStrategy(
        size=min(workers.count, len(shards)),
        max_tasks_in_flight_per_actor=workers.shards_in_flight,
        max_concurrent_calls_per_actor=workers.shards_in_flight,
    )
    stream = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards)).map_batches(
        Worker,
        fn_constructor_kwargs={"config": config, "program": program, "progress": progress},
        batch_size=1,
        compute=pool,
        num_cpus=workers.num_cpus,
        num_gpus=workers.num_gpus,
    )
    with cluster.unwrapped_errors():
        yield from stream.iter_rows()
