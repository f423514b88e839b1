"""A Ray cluster of several nodes on this machine: each a raylet of its own, whose CPUs and GPUs need not be there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from ray.job_submission import JobSubmissionClient
from ray.util.state import list_nodes

from benchmarks.s3_server import free_ports

ROOT = Path(__file__).parent.parent
RAY = str(Path(sys.executable).parent / "ray")
# Ray 2.60 takes tokens as soon as there is a file ~/.ray/auth_token.
ENVIRONMENT = {"RAY_AUTH_MODE": "disabled"}


class RayNode:
    """A running node of a cluster. ``metrics`` is where Prometheus would read its metrics, new ones each second."""

    def __init__(self, name: str, folder: Path, *flags: str) -> None:
        grpc, listen, metrics = free_ports(3)
        flags += (f"--dashboard-agent-grpc-port={grpc}", f"--dashboard-agent-listen-port={listen}")
        flags += (f"--metrics-export-port={metrics}",)
        self.metrics = f"http://127.0.0.1:{metrics}/metrics"
        self.log = folder / f"{name}.log"
        command = [RAY, "start", "--block", *flags]
        with self.log.open("wb") as out:
            # A folder of its own, where no other Ray of this machine looks for a cluster.
            environment = {**os.environ, **ENVIRONMENT, "RAY_TMPDIR": str(folder)}
            environment["RAY_metrics_report_interval_ms"] = "1000"
            self._process = psutil.Popen(command, stdout=out, stderr=out, env=environment, cwd=ROOT)

    def kill(self) -> None:
        """Ends all of the node's processes by SIGKILL, as a machine that is taken away does."""
        with suppress(psutil.NoSuchProcess):
            for process in [self._process, *self._process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait()

    @property
    def pids(self) -> set[int]:
        """Returns the ids of the node's processes."""
        return {process.pid for process in self._process.children(recursive=True)}

    def require_running(self) -> None:
        """Raises :class:`RuntimeError`, with the end of its log, for a node that has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"a Ray node ended: {self.log.read_text(errors='replace')[-2000:]}")


class RayCluster:
    """A head and the nodes that joined it. ``jobs`` is where jobs are submitted."""

    def __init__(self, folder: Path, num_cpus: float) -> None:
        self._folder = folder
        port, dashboard, client = free_ports(3)
        self.address = f"127.0.0.1:{port}"
        self.jobs = f"http://127.0.0.1:{dashboard}"
        flags = [f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
        self.head = RayNode("head", folder, "--head", f"--num-cpus={num_cpus:g}", *flags)
        self.nodes: list[RayNode] = []

    def start_node(self, num_cpus: float = 1, num_gpus: float = 0) -> RayNode:
        """Returns a node that has joined."""
        before = self._alive()
        flags = [f"--address={self.address}", f"--num-cpus={num_cpus:g}", f"--num-gpus={num_gpus:g}"]
        node = RayNode(f"node-{len(self.nodes)}", self._folder, *flags)
        self.nodes.append(node)
        # One after another: of two that start at once on one machine, now and then one does not get up.
        while not self._alive() - before:
            node.require_running()
            time.sleep(0.5)
        return node

    def _alive(self) -> set[str]:
        # One that registers in the very moment counts as missing output.
        found = list_nodes(address=self.jobs, filters=[("state", "=", "ALIVE")], raise_on_missing_output=False)
        return {node.node_id for node in found}

    def job(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs ``ray job …`` against the cluster, from the project's folder."""
        command = (command[0], f"--address={self.jobs}", *command[1:])
        return subprocess.run(
            [RAY, "job", *command],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT},
            check=False,
        )

    def submit(self, submission_id: str, *entrypoint: str) -> None:
        """Submits a job that goes on by itself; raises where Ray refuses it."""
        arguments = [f"--submission-id={submission_id}", "--no-wait", "--working-dir=.", "--", *entrypoint]
        done = self.job("submit", *arguments)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def log(self, submission_id: str) -> str:
        """Returns what a job has written."""
        return self.job("logs", submission_id).stdout

    def status(self, submission_id: str) -> str:
        """Returns the last word of a job that has ended: ``SUCCEEDED``, ``FAILED`` or ``STOPPED``; "" before."""
        # Not by `ray job status`, whose start takes two seconds of a core each time.
        status = JobSubmissionClient(self.jobs).get_job_status(submission_id)
        return str(status.value) if status.is_terminal() else ""

    def await_job(self, submission_id: str, seconds: float) -> str:
        """Waits until a job has ended; returns its last word: ``SUCCEEDED``, ``FAILED`` or ``STOPPED``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if status := self.status(submission_id):
                return status
            time.sleep(1)
        raise TimeoutError(f"{submission_id} goes on after {seconds:.0f} s: {self.log(submission_id)[-2000:]}")

    def await_jobs(self) -> None:
        """Waits until the head takes jobs."""
        deadline = time.monotonic() + 180
        while (asked := self.job("list")).returncode:
            self.head.require_running()
            if time.monotonic() > deadline:
                raise TimeoutError(f"Ray's head takes no jobs: {asked.stderr[-2000:]}")
            time.sleep(1)


@contextmanager
def start_cluster(num_cpus: float = 0) -> Iterator[RayCluster]:
    """Runs a cluster of a head with so many CPUs; all of it ends with the context."""
    # Short, for Unix sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as name:
        cluster = RayCluster(Path(name), num_cpus)
        try:
            cluster.await_jobs()
            yield cluster
        finally:
            # SIGTERM would drain them for half a minute.
            for node in [*cluster.nodes, cluster.head]:
                node.kill()
