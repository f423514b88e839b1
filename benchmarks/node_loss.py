"""A node that is taken away halfway: ``python -m benchmarks.node_loss``.

A head and two nodes on this machine, a run by ``ray job submit`` with one worker on each node and a slow scripted engine.
Halfway all processes of one node are killed by SIGKILL, and a third node joins. What comes out is compared with a run that
nothing disturbs; printed are the log, the counts and the tokens spent again.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks import chaos
from benchmarks.ray_cluster import RayCluster, start_cluster
from medreason_dist.storage import MANIFEST


def main() -> None:
    """Runs twice and prints what came out; exits with 1 where it differs."""
    with tempfile.TemporaryDirectory() as name, start_cluster() as cluster:
        setting = chaos.Setting(Path(name), copies=80, workers=2)
        chaos.prepare(setting)
        calm = chaos.run_undisturbed(setting, "calm")
        questions = calm.read_json(MANIFEST)["questions"]
        cluster.start_node()
        lost = cluster.start_node()
        command = [sys.executable, "jobs/generate.py", *chaos.arguments(setting, "nodes")]
        tell(f"ray job submit --working-dir . -- python {' '.join(command[1:4])} …")
        cluster.submit("nodes", *command)
        await_traces(cluster, setting, questions // 2)
        lost.kill()
        tell("one of two nodes is gone")
        cluster.start_node()
        tell("a third node has joined")
        status = cluster.await_job("nodes", seconds=600)
        print(cluster.log("nodes"))
        tell(f"the job {status}")
        run = setting.run("nodes")
        faults = chaos.compare(chaos.read_rows(calm), run, setting)
        manifest = run.read_json(MANIFEST)
        print({key: manifest[key] for key in ("questions", "accepted", "rejected", "shards")}, f"faults: {faults or 0}")
        print(f"spent again: {chaos.measure_respent(setting.ledger('nodes')):.2%} of all tokens")
        sys.exit(bool(faults) or status != "SUCCEEDED")


def await_traces(cluster: RayCluster, setting: chaos.Setting, questions: int) -> None:
    """Waits until the traces of so many questions are written."""
    folder = setting.run("nodes").child("traces")
    while 16 * len(folder.names(".parquet")) < questions:
        if cluster.status("nodes") == "FAILED":
            raise SystemExit(cluster.log("nodes"))
        time.sleep(2)


def tell(what: str) -> None:
    """Prints what happens, and when."""
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


if __name__ == "__main__":
    main()
