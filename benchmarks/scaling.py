"""How the main job scales with its workers: ``python -m benchmarks.scaling [WORKERS …]`` (default 1 8 64).

A cluster on this machine, submitted to by ``ray job submit``, and a scripted engine whose requests take a fixed time, so
that workers do not compete for this machine's cores as their GPUs would not. Each worker gets the same number of
questions. Efficiency is the time that its requests take, divided by what they could have taken: the slots of a worker
(questions in flight) times the seconds between its first request and the end of the last. Printed beside it is where the
rest goes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from benchmarks import chaos
from benchmarks.ray_cluster import start_cluster
from medreason_dist.storage import MANIFEST

DELAY_S = 3.0
SHARD = 4
IN_FLIGHT = 2
SHARDS_A_WORKER = 60
NODE_CPUS = 16


class Share(NamedTuple):
    """What became of the slots' seconds of one worker, as parts of all."""

    busy: float
    tail: float
    """After its last new question: fewer are left than slots."""
    between: float
    """The rest: between two requests of a question, and between two shards."""


def main(counts: list[int]) -> None:
    """Runs each number of workers and prints its efficiency."""
    with tempfile.TemporaryDirectory() as name:
        for count in counts:
            folder = Path(name) / f"workers-{count}"
            folder.mkdir()
            rows = count * SHARD * SHARDS_A_WORKER
            setting = chaos.Setting(folder, copies=-(-rows // 14), delay_s=DELAY_S, flush_s=5.0, workers=count)
            chaos.prepare(setting)
            shares = run(setting, count, rows)
            busy = statistics.mean(share.busy for share in shares)
            rest = {part: statistics.mean(getattr(share, part) for share in shares) for part in ("tail", "between")}
            lost = ", ".join(f"{part} {share:.1%}" for part, share in rest.items())
            print(f"{count} workers, {rows:,} questions: efficiency {busy:.1%} (lost: {lost})", flush=True)


def run(setting: chaos.Setting, count: int, rows: int) -> list[Share]:
    """Returns where the slots' time of each worker went."""
    with start_cluster() as cluster:
        for _ in range(-(-count // NODE_CPUS)):
            cluster.start_node(num_cpus=NODE_CPUS)
        pairs = [f"run.limit={rows}", f"run.shard_questions={SHARD}", f"workers.shards_in_flight={IN_FLIGHT}"]
        entrypoint = [sys.executable, "jobs/generate.py", *chaos.arguments(setting, "run"), *pairs]
        cluster.submit("scaling", *entrypoint)
        if cluster.await_job("scaling", seconds=3600) != "SUCCEEDED":
            raise SystemExit(cluster.log("scaling"))
    manifest = setting.run("run").read_json(MANIFEST)
    print(f"{count} workers: {manifest['questions'] / manifest['wall_s']:.2f} questions/s, start included", flush=True)
    return read_shares(setting.ledger("run"))


def read_shares(ledger: Path) -> list[Share]:
    """Returns what the ledger tells of each worker."""
    begun: dict[str, list[float]] = defaultdict(list)
    last_question: dict[str, float] = {}
    for line in ledger.read_text().splitlines():
        stage, _, _, worker, at = line.split()
        begun[worker].append(float(at))
        if stage == "extract":
            last_question[worker] = float(at)
    slots = SHARD * IN_FLIGHT
    shares = []
    for worker, times in begun.items():
        first, last = min(times), max(times) + DELAY_S
        whole = slots * (last - first)
        edge = last_question[worker]
        after = sum(min(DELAY_S, at + DELAY_S - edge) for at in times if at + DELAY_S > edge)
        tail = (slots * (last - edge) - after) / whole
        busy = DELAY_S * len(times) / whole
        shares.append(Share(busy, tail, 1 - busy - tail))
    return shares


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]] or [1, 8, 64])
