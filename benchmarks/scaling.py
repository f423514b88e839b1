"""How the main job scales with its workers: ``python -m benchmarks.scaling [WORKERS …]`` (default 1 8 64).

A cluster on this machine, submitted to by ``ray job submit``, and a scripted engine whose requests take a fixed time, so
that workers do not compete for this machine's cores as their GPUs would not. The number of questions grows with that of
the workers. A worker's use is the time that its requests take, divided by what they could have taken: its slots (questions
in flight) times the seconds between its first request and the end of its last. Efficiency is the mean use beside that of
the first count. The start is left out: two cores load 64 processes one after another, the machines of a cluster at once.
Printed beside it is where the rest goes.
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

DELAY_S = 12.0
"""Of a request. Long, for 64 workers at 3 s take both of two cores whole, which their own machines would have."""
SHARD = 4
IN_FLIGHT = 2
SHARDS_A_WORKER = 16
NODE_CPUS = 16


class Share(NamedTuple):
    """What became of the slots' seconds of one worker, as parts of all."""

    busy: float
    waiting: float
    """A shard's other questions go on; a shard ends with its last one, and then the next one starts."""
    tail: float
    """After its last new question: fewer are left than slots."""
    idle: float
    """Between its end and the run's, beyond its span: the last shards end one after another."""


def main(counts: list[int]) -> None:
    """Runs each number of workers and prints its efficiency."""
    with tempfile.TemporaryDirectory() as name:
        alone = None
        for count in counts:
            folder = Path(name) / f"workers-{count}"
            folder.mkdir()
            rows = count * SHARD * SHARDS_A_WORKER
            setting = chaos.Setting(folder, copies=-(-rows // 14), delay_s=DELAY_S, flush_s=5.0, workers=count)
            chaos.prepare(setting)
            shares = run(setting, count, rows)
            mean = Share(*(statistics.mean(part) for part in zip(*shares, strict=True)))
            alone = alone or mean.busy
            parts = ", ".join(f"{name} {share:.1%}" for name, share in mean._asdict().items())
            print(f"{count} workers, {rows:,} questions: efficiency {mean.busy / alone:.1%} ({parts})", flush=True)


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
    end = max(max(times) for times in begun.values()) + DELAY_S
    shares = []
    for worker, times in begun.items():
        first, last = min(times), max(times) + DELAY_S
        whole = slots * (last - first)
        edge = last_question[worker]
        after = sum(min(DELAY_S, at + DELAY_S - edge) for at in times if at + DELAY_S > edge)
        tail = (slots * (last - edge) - after) / whole
        busy = DELAY_S * len(times) / whole
        shares.append(Share(busy, 1 - busy - tail, tail, (end - last) / (end - first)))
    return shares


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]] or [1, 8, 64])
