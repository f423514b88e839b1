"""A run that is killed again and again: ``python -m benchmarks.chaos [KILLS] [SEED]``, or ``make chaos``.

The main job on real Ray with a slow scripted engine, beside a run of the same questions that nothing disturbs. At random
moments something of it is killed by SIGKILL: the driver, a worker, or the raylet; the same command is given again until
the run is finished. Then nothing may be lost, twice, or other than in the undisturbed run, but for the columns that say
what it took. Of every completion there is a line in a ledger, so that what was spent again is counted, not guessed.

Exits with 1 where anything differs.
"""

from __future__ import annotations

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

from medreason_dist.config import StorageConfig
from medreason_dist.schemas import TRACES
from medreason_dist.storage import MANIFEST, Folder

ROOT = Path(__file__).parent.parent
VICTIMS = ("driver", "worker", "raylet")
TOOK = ("usage", "latency_s")
"""Columns that say what a row took, not what it holds."""
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
    kills_a_run: int = 5
    longest_s: float = 8.0
    """Seconds after the first sign of work within which a kill falls."""
    runs: str | None = None
    """Where the runs' folders lie; None for ``folder``."""
    storage: StorageConfig = StorageConfig()
    """How they are reached."""

    def run(self, name: str) -> Folder:
        """Returns a run's folder."""
        return Folder(f"{self.runs or self.folder}/{name}", self.storage)


class Outcome(NamedTuple):
    """What a disturbed run came to."""

    killed: Counter[str]
    starts: int
    faults: list[str]
    respent: float
    """Tokens that were spent again, of all that are needed."""


def main(kills: int, seed: int) -> None:
    """Disturbs runs until so many kills are done, and prints what each came to."""
    with tempfile.TemporaryDirectory() as name:
        setting = Setting(Path(name))
        prepare(setting)
        started = time.monotonic()
        expected = read_rows(run_undisturbed(setting))
        print(f"undisturbed: {len(expected)} questions, {time.monotonic() - started:.0f} s", flush=True)
        total: Counter[str] = Counter()
        outcomes: list[Outcome] = []
        while total.total() < kills:
            outcome = run_disturbed(setting, f"run-{len(outcomes)}", random.Random(seed + len(outcomes)), expected)
            outcomes.append(outcome)
            total += outcome.killed
            each = outcome.respent / max(outcome.killed.total(), 1)
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(outcome.killed.items()))
            print(
                f"{kinds}: {outcome.starts} starts, {each:.2%} spent again a kill, faults {outcome.faults or 0}",
                flush=True,
            )
        shares = [outcome.respent / max(outcome.killed.total(), 1) for outcome in outcomes]
        print(
            f"{total.total()} kills; spent again a kill: median {statistics.median(shares):.2%}, worst {max(shares):.2%}"
        )
        sys.exit(any(outcome.faults for outcome in outcomes))


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
    script = {"delay_s": setting.delay_s, "ledger": str(folder / f"{run}.ledger"), "rules": RULES}
    # One file for all runs, one at a time: it is the model's name, which is in the rows.
    (folder / "script.json").write_text(json.dumps(script))
    pairs = {
        "run.uri": setting.run(run).uri,
        "run.shard_questions": 16,
        "run.flush_s": setting.flush_s,
        "graph.uri": folder / "graph",
        "engine.kind": "scripted",
        "engine.model": folder / "script.json",
        "questions.sources": f"{{medqa: {folder / 'medqa.jsonl'}}}",
    }
    if setting.storage.endpoint_url:
        pairs |= {"storage.endpoint_url": setting.storage.endpoint_url, "storage.region": setting.storage.region}
    return ["--config", "configs/quickstart.yaml", *(f"{key}={value}" for key, value in pairs.items())]


def run_undisturbed(setting: Setting) -> Folder:
    """Returns the folder of a finished run."""
    subprocess.run([sys.executable, "jobs/generate.py", *arguments(setting, "calm")], cwd=ROOT, check=True, stdout=2)
    return setting.run("calm")


def run_disturbed(setting: Setting, run: str, rng: random.Random, expected: list[dict[str, Any]]) -> Outcome:
    """Runs, kills and resumes until the run is finished."""
    killed: Counter[str] = Counter()
    starts = 0
    log = setting.folder / f"{run}.log"
    while True:
        starts += 1
        with started([sys.executable, "jobs/generate.py", *arguments(setting, run)], log) as driver:
            while killed.total() < setting.kills_a_run and await_work(driver, setting.folder / f"{run}.ledger"):
                with contextlib.suppress(psutil.TimeoutExpired):
                    driver.wait(rng.uniform(0, setting.longest_s))
                    break
                victim = rng.choice(VICTIMS)
                killed[victim] += kill(driver, victim, rng)
            code = driver.wait(timeout=600)
        if code == 0:
            break
        if starts > 3 * setting.kills_a_run:
            raise SystemExit(f"the run does not come to its end:\n{log.read_text()[-3000:]}")
    faults, respent = compare(expected, setting.run(run)), measure_respent(setting.folder / f"{run}.ledger")
    return Outcome(killed, starts, faults, respent)


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


def await_work(driver: psutil.Popen, ledger: Path) -> bool:
    """Waits until this start has completed something; False where it ends before."""
    before = ledger.stat().st_size if ledger.exists() else 0
    while driver.poll() is None:
        with contextlib.suppress(psutil.Error):
            driver.family.update(driver.children(recursive=True))
        if ledger.exists() and ledger.stat().st_size > before:
            return True
        time.sleep(0.1)
    return False


def kill(driver: psutil.Popen, victim: str, rng: random.Random) -> int:
    """Kills one process of a kind by SIGKILL; returns how many were there to be killed, 0 or 1."""
    with contextlib.suppress(psutil.Error):
        names = {"driver": "jobs/generate.py", "worker": "ray::MapWorker", "raylet": "/raylet/raylet"}
        below = [driver, *driver.children(recursive=True)]
        found = [process for process in below if any(names[victim] in part for part in process.cmdline()[:2])]
        if found:
            rng.choice(found).kill()
            return 1
    return 0


def compare(expected: list[dict[str, Any]], run: Folder) -> list[str]:
    """Returns what of a run is lost, twice, or other than expected."""
    rows = read_rows(run)
    identities = Counter(row["question_id"] for row in rows)
    wanted = {row["question_id"]: row for row in expected}
    faults = [f"{identity} is there {count} times" for identity, count in identities.items() if count > 1]
    faults += [f"{identity} is lost" for identity in wanted.keys() - identities.keys()]
    faults += [f"{row['question_id']} is another row" for row in rows if row != wanted.get(row["question_id"])]
    if not run.exists(MANIFEST):
        faults.append("there is no manifest")
    return faults


def read_rows(run: Folder) -> list[dict[str, Any]]:
    """Returns a run's traces without what they took."""
    folder = run.child("traces")
    rows = [row for name in folder.names(".parquet") for row in folder.read_table(name, TRACES).to_pylist()]
    return [{key: value for key, value in row.items() if key not in TOOK} for row in rows]


def measure_respent(ledger: Path) -> float:
    """Returns how many tokens were spent again, as a part of all that are needed."""
    tokens: dict[str, int] = {}
    spent = 0
    for line in ledger.read_text().splitlines():
        stage, seed, count = line.split()
        tokens[f"{stage} {seed}"] = int(count)
        spent += int(count)
    needed = sum(tokens.values())
    return (spent - needed) / needed


if __name__ == "__main__":
    main(*[int(number) for number in sys.argv[1:]] or [100, 0])
