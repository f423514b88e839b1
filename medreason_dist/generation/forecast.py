"""``--plan``: what a run is expected to come to, from a sample of its questions on the real engine."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from medreason_dist.config import Config
from medreason_dist.errors import ConfigError, StorageError
from medreason_dist.generation.shards import Totals
from medreason_dist.schemas import RejectReason, Stage, Status
from medreason_dist.storage import Folder
from medreason_dist.streaming.sample import Sample, Served

USAGE: Final = ("requests", "prompt_tokens", "completion_tokens")
LOADED: Final = 0.5
"""Part of its greatest number of requests under way from which on an engine counts as loaded."""
RESAMPLES: Final = 1000
INTERVAL: Final = (5, 95)
"""Percentiles of the bootstrap between which the tokens are expected."""


@dataclass(frozen=True)
class Rates:
    """What a sample says of the questions of each dataset, and of one worker."""

    start_s: float
    """Until the worker's engines are ready."""
    tokens_per_s: float
    """Prompt and completion tokens of one worker under load; 0 where nothing was asked."""
    edge_s: float
    """What the sample took beyond its tokens at that rate: while the first requests come in and the last go out."""
    stored_bytes: float
    """Of one question: its own row, its trace and its completions."""
    datasets: Mapping[str, Sequence[Mapping[str, Any]]]
    """By dataset, one entry a question of the sample: ``outcome`` (a reject reason, or accepted), ``usage`` by stage."""


def choose_sample(datasets: Sequence[str], size: int) -> list[int]:
    """Returns the positions of about ``size`` questions, of each dataset by its share and one at least.

    The first of each: questions come in the order of their content ids, which is a random one.
    """
    share = min(1.0, size / max(1, len(datasets)))
    wanted = {dataset: max(1, round(share * count)) for dataset, count in Counter(datasets).items()}
    chosen = []
    for position, dataset in enumerate(datasets):
        if wanted[dataset]:
            wanted[dataset] -= 1
            chosen.append(position)
    return chosen


def measure_rates(sample: Sample, datasets: Sequence[str], prepared_s: float) -> Rates:
    """Returns what a sample says; ``datasets[i]`` is that of its row ``i``, ``prepared_s`` what came before it."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for dataset, row in zip(datasets, sample.rows, strict=True):
        usage = {str(used["stage"]): {key: used[key] for key in USAGE} for used in row["usage"]}
        found.setdefault(dataset, []).append({"outcome": str(row["reject_reason"] or row["status"]), "usage": usage})
    rate, edge_s = 0.0, sample.span_s
    if sample.requests:
        rate = loaded_rate(sample.requests)
        edge_s -= sum(each.tokens for each in sample.requests) / rate
    return Rates(prepared_s + sample.load_s, rate, edge_s, sample.stored_bytes / len(sample.rows), found)


def loaded_rate(requests: Sequence[Served]) -> float:
    """Returns the tokens a second that an engine does while it is loaded.

    A request's tokens are spread evenly over its time. Loaded is when at least half as many requests are under way as at
    the busiest moment: a sample's first and last seconds, which a run has once, do not count.
    """
    begin, end, tokens = np.array([(each.begin_s, each.end_s, each.tokens) for each in requests], float).T
    end = np.maximum(end, begin + 1e-6)
    edges = np.unique([begin, end])
    under_way, rate = np.zeros(len(edges)), np.zeros(len(edges))
    for sign, moments in ((1, begin), (-1, end)):
        where = np.searchsorted(edges, moments)
        np.add.at(under_way, where, sign)
        np.add.at(rate, where, sign * tokens / (end - begin))
    under_way, rate, width = np.cumsum(under_way)[:-1], np.cumsum(rate)[:-1], np.diff(edges)
    loaded = under_way >= LOADED * under_way.max()
    return float((rate * width)[loaded].sum() / width[loaded].sum())


def expect(config: Config, datasets: Sequence[str], rates: Rates) -> dict[str, Any]:
    """Returns what the questions of ``datasets``, one entry each, are expected to come to.

    Raises :class:`ConfigError` where the rates, given by ``plan.rates``, know nothing of a dataset.
    """
    counts = Counter(datasets)
    if missing := sorted(counts.keys() - rates.datasets.keys()):
        what = f"the rates know nothing of {', '.join(missing)}"
        raise ConfigError(what, f"plan.rates: {config.plan.rates}", "leave plan.rates out to measure a sample")
    outcomes: dict[str, float] = defaultdict(float)
    by_stage: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for weight, question in _weigh(counts, rates):
        outcomes[question["outcome"]] += weight
        for stage, used in question["usage"].items():
            for key in USAGE:
                by_stage[stage][key] += weight * used[key]
    tokens = sum(used["prompt_tokens"] + used["completion_tokens"] for used in by_stage.values())
    low, high = _interval(counts, rates)
    return {
        "questions": len(datasets),
        "questions_by_source": dict(sorted(counts.items())),
        "shards": math.ceil(len(datasets) / config.run.shard_questions),
        **_tell(outcomes, by_stage),
        "tokens_low": round(low),
        "tokens_high": round(high),
        "stored_bytes": round(rates.stored_bytes * len(datasets)),
        **_spend(config, _expect_seconds(config, len(datasets), tokens, rates)),
    }


def compare(config: Config, totals: Totals, wall_s: float) -> dict[str, Any] | None:
    """Returns the forecast of ``plan.file`` beside what a run came to, for its manifest; None without one."""
    if config.plan.file is None:
        return None
    outcomes = {**totals.reasons, Status.accepted: totals.statuses[Status.accepted]}
    by_stage = {
        stage: {
            "requests": used["requests"],
            # What an earlier start had spent is not known by its two parts.
            "prompt_tokens": used["prompt_tokens"] + used["replayed_tokens"],
            "completion_tokens": used["completion_tokens"],
        }
        for stage, used in totals.usage.items()
    }
    actual = {"questions": totals.statuses.total(), **_tell(outcomes, by_stage), **_spend(config, wall_s)}
    return {"expected": read_forecast(config, config.plan.file, "plan.file")["expected"], "actual": actual}


def write_forecast(config: Config, rates: Rates, expected: Mapping[str, Any]) -> None:
    """Writes a forecast to ``plan.file``, where there is one."""
    if config.plan.file is not None:
        folder, name = _place(config, config.plan.file)
        folder.write_json(name, {"expected": expected, "rates": asdict(rates)})


def read_rates(config: Config) -> Rates | None:
    """Returns the rates of ``plan.rates``, or None where they are to be measured."""
    if config.plan.rates is None:
        return None
    return Rates(**read_forecast(config, config.plan.rates, "plan.rates")["rates"])


def read_forecast(config: Config, uri: str, key: str) -> dict[str, Any]:
    """Returns a forecast; raises :class:`ConfigError`, which names ``key``, where there is none."""
    folder, name = _place(config, uri)
    try:
        forecast = folder.read_json(name)
        Rates(**forecast["rates"])
        return {"expected": forecast["expected"], "rates": forecast["rates"]}
    except (FileNotFoundError, StorageError, KeyError, TypeError) as error:
        fault = "there is no such file" if isinstance(error, FileNotFoundError) else f"it is no forecast: {error}"
        raise ConfigError(fault, f"{key}: {uri}", "write one by generate.py --plan, or leave the key out") from None


def format_forecast(expected: Mapping[str, Any], rates: Rates, measured: bool) -> str:
    """Returns a forecast as text for a terminal."""
    sample = sum(map(len, rates.datasets.values()))
    source = f"a sample of {sample:,} on the engine" if measured else f"given rates, of {sample:,} questions"
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in expected["rejected_by_reason"].items())
    by_source = ", ".join(f"{dataset} {count:,}" for dataset, count in expected["questions_by_source"].items())
    lines = [
        ("questions", f"{expected['questions']:,} to do in {expected['shards']:,} shards ({by_source})"),
        ("expected by", f"{source}: {rates.tokens_per_s:,.0f} tokens/s a worker, start {rates.start_s:.0f} s"),
        ("accepted", f"{expected['accepted']:,}"),
        ("rejected", f"{sum(expected['rejected_by_reason'].values()):,}" + (f" ({rejected})" if rejected else "")),
        *((f"  {stage}", _stage_line(used)) for stage, used in expected["by_stage"].items()),
        (
            "tokens",
            f"{expected['tokens']:,} (90 % between {expected['tokens_low']:,} and {expected['tokens_high']:,}), "
            f"{expected['requests']:,} requests",
        ),
        ("time", f"{expected['wall_s']:,.0f} s, {expected['gpu_hours']:,.2f} GPU hours"),
        ("cost", "set plan.price_per_gpu_hour" if expected["cost"] is None else f"{expected['cost']:,.2f}"),
        ("storage", f"{expected['stored_bytes'] / 1e6:,.2f} MB"),
    ]
    return "\n".join(f"{name:<13}{text}" for name, text in lines)


def _stage_line(used: Mapping[str, int]) -> str:
    return f"{used['requests']:,} requests, {used['prompt_tokens']:,} + {used['completion_tokens']:,} tokens"


def _weigh(counts: Mapping[str, int], rates: Rates) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """Yields the questions of the sample, each with how many of the run's it stands for."""
    for dataset, count in counts.items():
        for question in rates.datasets[dataset]:
            yield count / len(rates.datasets[dataset]), question


def _tell(outcomes: Mapping[str, float], by_stage: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    told = {stage: {key: round(used[key]) for key in USAGE} for stage, used in by_stage.items()}
    return {
        "accepted": round(outcomes.get(Status.accepted, 0)),
        "rejected_by_reason": {
            reason.value: round(outcomes[reason]) for reason in RejectReason if outcomes.get(reason)
        },
        "by_stage": {stage.value: told[stage] for stage in Stage if stage in told},
        "requests": sum(used["requests"] for used in told.values()),
        "tokens": sum(used["prompt_tokens"] + used["completion_tokens"] for used in told.values()),
    }


def _spend(config: Config, wall_s: float) -> dict[str, Any]:
    gpu_hours = config.workers.count * config.workers.num_gpus * wall_s / 3600
    price = config.plan.price_per_gpu_hour
    cost = None if price is None else round(price * gpu_hours, 2)
    return {"wall_s": round(wall_s, 1), "gpu_hours": round(gpu_hours, 3), "cost": cost}


def _expect_seconds(config: Config, questions: int, tokens: float, rates: Rates) -> float:
    if not rates.tokens_per_s:
        return rates.start_s
    size = config.run.shard_questions
    shards = math.ceil(questions / size)
    # The worker that gets a shard more than others ends last.
    most = min(questions, size * math.ceil(shards / min(config.workers.count, shards)))
    return rates.start_s + rates.edge_s + tokens * most / questions / rates.tokens_per_s


def _interval(counts: Mapping[str, int], rates: Rates) -> tuple[float, float]:
    """Returns the bootstrap's interval of all tokens, from the questions of the sample, within each dataset."""
    random = np.random.default_rng(0)
    total = np.zeros(RESAMPLES)
    for dataset, count in counts.items():
        spent = np.array(
            [
                sum(used["prompt_tokens"] + used["completion_tokens"] for used in question["usage"].values())
                for question in rates.datasets[dataset]
            ]
        )
        total += count * random.choice(spent, (RESAMPLES, len(spent))).mean(axis=1)
    low, high = np.percentile(total, INTERVAL)
    return float(low), float(high)


def _place(config: Config, uri: str) -> tuple[Folder, str]:
    parent, _, name = uri.rpartition("/")
    return Folder(parent or ".", config.storage), name
