"""What the framework costs a question: ``python -m benchmarks.volume [--questions N] [--s3]`` (default 20,000).

The main job on real Ray with a scripted engine that answers at once: questions a second, milliseconds of overhead a
question, the memory of driver and worker over time, the files that are written, and, with ``--s3``, where they lie on a
real S3 server on this machine, requests to it a question.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks import chaos
from benchmarks.background import in_background
from medreason_dist.storage import MANIFEST


def main() -> None:
    """Runs and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--questions", type=int, default=20_000)
    parser.add_argument("--s3", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        rows = len((chaos.ROOT / "examples/quickstart/medqa.jsonl").read_text().splitlines())
        setting = chaos.Setting(Path(name), copies=-(-options.questions // rows), delay_s=0.0, flush_s=5.0)
        chaos.prepare(setting)
        if options.s3:
            server = stack.enter_context(chaos.faulty_s3(setting.folder)).server
            setting = setting._replace(runs=server.new_bucket(), storage=server.storage)
        pairs = [f"run.limit={options.questions}", "run.shard_questions=64"]
        command = [sys.executable, "jobs/generate.py", *chaos.arguments(setting, "run"), *pairs]
        started = time.monotonic()
        with subprocess.Popen(command, cwd=chaos.ROOT, stdout=subprocess.DEVNULL) as process:
            memory = watch_memory(process)
        if process.returncode:
            raise SystemExit(process.returncode)
        run = setting.run("run")
        manifest, seconds = run.read_json(MANIFEST), time.monotonic() - started
        print(
            f"{manifest['questions']:,} questions in {seconds:.0f} s: {manifest['questions'] / seconds:,.0f}/s, ",
            end="",
        )
        print(f"{1e3 * seconds / manifest['questions']:.1f} ms a question, {manifest['usage']['requests']:,} requests")
        for role, samples in memory.items():
            quarters = [max(samples[len(samples) * n // 4 : len(samples) * (n + 1) // 4], default=0) for n in range(4)]
            print(f"{role}: peak MB by quarter of the time: {', '.join(f'{peak / 1e6:,.0f}' for peak in quarters)}")
        print(f"files: {json.dumps({folder: len(run.child(folder).names()) for folder in FOLDERS})}")
        requests = manifest["s3_requests"]
        print(f"requests to S3 a question: {sum(requests.values()) / manifest['questions']:.3f} ({requests})")


FOLDERS = ("questions", "traces", "completions", "dropped")


def watch_memory(process: subprocess.Popen[bytes]) -> dict[str, list[int]]:
    """Returns resident bytes of driver and worker, once a second, until the driver has ended."""
    samples: dict[str, list[int]] = {"driver": [], "worker": []}

    def watch(ended: threading.Event) -> None:
        while not ended.wait(1):
            try:
                driver = psutil.Process(process.pid)
                samples["driver"].append(driver.memory_info().rss)
                for child in driver.children(recursive=True):
                    if "ray::MapWorker" in " ".join(child.cmdline()[:1]):
                        samples["worker"].append(child.memory_info().rss)
            except psutil.Error:
                continue

    with in_background(watch):
        process.wait()
    return samples


if __name__ == "__main__":
    main()
