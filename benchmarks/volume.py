"""What the framework costs a question: ``python -m benchmarks.volume [QUESTIONS]`` (default 20,000).

The main job on real Ray with a scripted engine that answers at once: questions a second, milliseconds of overhead a
question, the memory of driver and worker over time, the files that are written, and, where MEDREASON_S3_ENDPOINT names an
S3 server (with the AWS environment's credentials and an existing bucket MEDREASON_S3_BUCKET), requests to it a question.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks import chaos
from benchmarks.background import in_background
from medreason_dist.config import StorageConfig
from medreason_dist.storage import MANIFEST, Folder


def main(questions: int) -> None:
    """Runs and prints the figures."""
    with tempfile.TemporaryDirectory() as name:
        copies = -(-questions // len((chaos.ROOT / "examples/quickstart/medqa.jsonl").read_text().splitlines()))
        setting = chaos.Setting(Path(name), copies=copies, delay_s=0.0, flush_s=5.0)
        chaos.prepare(setting)
        pairs = [f"run.limit={questions}", "run.shard_questions=64"]
        uri, storage = str(setting.folder / "run"), StorageConfig()
        if endpoint := os.environ.get("MEDREASON_S3_ENDPOINT"):
            uri = f"s3://{os.environ['MEDREASON_S3_BUCKET']}/volume-{int(time.time())}"
            storage = StorageConfig(endpoint_url=endpoint, region="us-east-1")
            pairs += [f"storage.endpoint_url={endpoint}", "storage.region=us-east-1"]
        command = [sys.executable, "jobs/generate.py", *chaos.arguments(setting, "run"), *pairs, f"run.uri={uri}"]
        started = time.monotonic()
        with subprocess.Popen(command, cwd=chaos.ROOT, stdout=subprocess.DEVNULL) as process:
            memory = watch_memory(process)
        if process.returncode:
            raise SystemExit(process.returncode)
        run = Folder(uri, storage)
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
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
