"""tokens/s of ``generate`` beside bare vLLM on the same prompts: ``python -m benchmarks.generation --config FILE …``.

A run is made in a temporary folder while each request is recorded with its times; then ``vllm.LLM.generate`` gets all
its prompts at once, with the same sampling and constraints, in the same machine state. Both are timed from the first
request to the last completion, so that loading counts in neither.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.engines.base import Completion, Request
from medreason_dist.generation.embedding import embed_entities
from medreason_dist.generation.pipeline import generate
from medreason_dist.graph.neighborhoods import build_neighborhoods

RECORDS = "MEDREASON_RECORDS"


@dataclass(frozen=True)
class Record:
    """A request, its rendered prompt, what came back, and when (in seconds of the machine's clock)."""

    request: Request
    token_ids: list[int]
    completion: Completion
    started_s: float
    ended_s: float


def main(config: Config) -> None:
    """Measure generate beside bare vLLM on the prompts that it made."""
    with tempfile.TemporaryDirectory() as folder:
        build_neighborhoods(config)
        # The hook runs in every process that Ray starts, before the worker's first call.
        hook = {"worker_process_setup_hook": record_requests, "env_vars": {RECORDS: folder}}
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", runtime_env=hook)
        embed_entities(config)
        started = time.time()
        manifest = generate(replace(config, run=replace(config.run, uri=f"{folder}/run")))
        ended = time.time()
        ray.shutdown()
        records = [record for path in Path(folder).glob("*.pickle") for record in read_records(path)]
    first, last = min(r.started_s for r in records), max(r.ended_s for r in records)
    pipeline = measure([r.completion for r in records], last - first)
    bare = run_bare(config, records)
    print(f"{'':<12}{'requests':>10}{'tokens':>10}{'seconds':>10}{'tokens/s':>10}")
    for name, (requests, tokens, seconds, rate) in (("bare vLLM", bare), ("generate", pipeline)):
        print(f"{name:<12}{requests:>10,}{tokens:>10,}{seconds:>10.1f}{rate:>10.0f}")
    print(f"ratio       {pipeline[3] / bare[3]:.2f}")
    print(f"before the first request {first - started:.1f} s (Ray, graph, engine), after the last {ended - last:.1f} s")
    print(f"accepted {manifest['accepted']} of {manifest['questions']}")
    describe(records)


def record_requests() -> None:
    """Makes the engine of this process append each request to a file of its own."""
    from medreason_dist.engines.vllm import VLLMEngine

    complete = VLLMEngine.complete
    path = Path(os.environ[RECORDS]) / f"{os.getpid()}.pickle"

    async def recorded(self: VLLMEngine, request: Request) -> Completion:
        started = time.time()
        completion = await complete(self, request)
        # A tuple, because this module is __main__ here and not there.
        record = request, self._chat.render(request.messages), completion, started, time.time()
        with path.open("ab") as file:
            pickle.dump(record, file)
        return completion

    VLLMEngine.complete = recorded  # type: ignore[method-assign]


def read_records(path: Path) -> list[Record]:
    """Returns the records of one process."""
    records = []
    with path.open("rb") as file:
        while file.peek(1):
            records.append(Record(*pickle.load(file)))
    return records


def run_bare(config: Config, records: Sequence[Record]) -> tuple[int, int, float, float]:
    """Returns requests, tokens, seconds and tokens/s of vLLM's own offline entry point."""
    os.environ.update(config.engine.env)
    from vllm import LLM
    from vllm.platforms import current_platform

    from medreason_dist.engines.vllm import engine_args, sampling_params

    llm = LLM(**engine_args(config.engine, on_cpu=current_platform.is_cpu()))
    sampling = [sampling_params(record.request) for record in records]
    started = time.time()
    outputs: Any = llm.generate([{"prompt_token_ids": r.token_ids} for r in records], sampling, use_tqdm=False)
    seconds = time.time() - started
    tokens = sum(len(output.prompt_token_ids) + len(output.outputs[0].token_ids) for output in outputs)
    return len(records), tokens, seconds, tokens / seconds


def measure(completions: Sequence[Completion], seconds: float) -> tuple[int, int, float, float]:
    """Returns requests, tokens, seconds and tokens/s."""
    tokens = sum(completion.prompt_tokens + completion.completion_tokens for completion in completions)
    return len(completions), tokens, seconds, tokens / seconds


def describe(records: Sequence[Record]) -> None:
    """Prints what each stage asked for, and how full the engine was."""
    stages = defaultdict(list)
    for record in records:
        stages[record.request.stage].append(record)
    for stage, found in stages.items():
        prompt, completion = (
            sum(getattr(r.completion, f"{kind}_tokens") for r in found) for kind in ("prompt", "completion")
        )
        latency = sum(r.ended_s - r.started_s for r in found) / len(found)
        print(f"  {stage:<8} {len(found):>6,} requests {prompt:>9,} + {completion:>8,} tokens, {latency:6.1f} s each")
    edges = sorted([(r.started_s, 1) for r in records] + [(r.ended_s, -1) for r in records])
    spans: defaultdict[str, float] = defaultdict(float)
    in_flight, before = 0, edges[0][0]
    for moment, change in edges:
        share = "0" if not in_flight else "1-3" if in_flight < 4 else "4-15" if in_flight < 16 else "16 or more"
        spans[share] += moment - before
        in_flight, before = in_flight + change, moment
    print(
        "  requests in flight: "
        + ", ".join(f"{name}: {spans[name]:.1f} s" for name in ("0", "1-3", "4-15", "16 or more"))
    )


if __name__ == "__main__":
    run_job(main, sys.argv[1:])
