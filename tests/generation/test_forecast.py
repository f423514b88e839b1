"""``--plan``: what a sample says of the whole."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from medreason_dist.config import Config, PlanConfig
from medreason_dist.errors import ConfigError, RunError
from medreason_dist.generation import pipeline
from medreason_dist.generation.forecast import (
    Rates,
    choose_sample,
    expect,
    format_forecast,
    loaded_rate,
    measure_rates,
    read_rates,
)
from medreason_dist.streaming.sample import Sample, Served
from tests.generation.conftest import SCRIPT


def used(prompt: int, completion: int) -> dict[str, int]:
    return {"requests": 1, "prompt_tokens": prompt, "completion_tokens": completion}


ACCEPTED = {"outcome": "accepted", "usage": {"extract": used(100, 10), "trace": used(200, 90)}}
NO_PATH = {"outcome": "no_path_within_bound", "usage": {"extract": used(100, 20)}}
RATES = Rates(30.0, 50.0, 6.0, 2000.0, {"medqa": [ACCEPTED, NO_PATH], "huatuo": [ACCEPTED]})


def test_each_dataset_is_in_the_sample_by_its_share_and_once_at_least() -> None:
    datasets = ["medqa"] * 60 + ["huatuo"] + ["medmcqa"] * 39
    chosen = choose_sample(datasets, 10)
    assert Counter(datasets[position] for position in chosen) == {"medqa": 6, "medmcqa": 4, "huatuo": 1}
    assert chosen[:6] == list(range(6))
    assert choose_sample(datasets, 500) == list(range(100))


def test_the_rate_is_that_of_the_loaded_seconds() -> None:
    # Four at once do 40 tokens a second; the last one of them goes on alone at 10.
    together = [Served(0.0, 10.0, 100) for _ in range(3)]
    assert loaded_rate([*together, Served(0.0, 20.0, 200)]) == pytest.approx(40.0)
    assert loaded_rate([Served(5.0, 5.0, 7)]) > 0


def test_the_whole_is_each_dataset_by_its_own_share() -> None:
    config = Config(plan=PlanConfig(price_per_gpu_hour=3.6))
    expected = expect(config, ["medqa"] * 100 + ["huatuo"] * 28, RATES)
    assert expected["questions"] == 128
    assert expected["questions_by_source"] == {"huatuo": 28, "medqa": 100}
    assert (expected["accepted"], expected["rejected_by_reason"]) == (78, {"no_path_within_bound": 50})
    assert expected["by_stage"]["trace"] == {"requests": 78, "prompt_tokens": 15_600, "completion_tokens": 7_020}
    assert expected["tokens"] == 78 * 400 + 50 * 120
    assert expected["stored_bytes"] == 128 * 2000
    # Two shards of 64 by one worker: start, edge, and all tokens at 50 a second.
    assert expected["wall_s"] == pytest.approx(30 + 6 + 37_200 / 50)
    assert expected["gpu_hours"] == pytest.approx(780 / 3600, abs=1e-3)
    assert expected["cost"] == pytest.approx(0.78)
    assert expected["tokens_low"] < expected["tokens"] < expected["tokens_high"]


def test_the_worker_with_most_shards_ends_last() -> None:
    config = Config()
    two = replace(config, workers=replace(config.workers, count=2))
    # Three shards, two workers: one does 128 of 192.
    expected = expect(two, ["huatuo"] * 192, RATES)
    assert expected["wall_s"] == pytest.approx(36 + 192 * 400 * 128 / 192 / 50)
    assert expected["gpu_hours"] == pytest.approx(2 * expected["wall_s"] / 3600, abs=1e-3)


def test_rates_know_their_datasets_only() -> None:
    with pytest.raises(ConfigError, match=r"(?s)know nothing of mmlu.*plan\.rates"):
        expect(Config(plan=PlanConfig(rates="rates.json")), ["mmlu"], RATES)


def test_a_sample_without_requests_takes_its_start() -> None:
    row = {"status": "rejected", "reject_reason": "no_mentions", "usage": [], "latency_s": 0.1}
    rates = measure_rates(Sample(load_s=5.0, rows=[row], span_s=0.1, stored_bytes=100), ["medqa"], 2.0)
    expected = expect(Config(), ["medqa"] * 10, rates)
    assert (expected["wall_s"], expected["tokens"], expected["rejected_by_reason"]) == (7.0, 0, {"no_mentions": 10})


def test_as_text() -> None:
    expected = expect(Config(), ["medqa"] * 100, RATES)
    text = format_forecast(expected, RATES, measured=True)
    assert "100 to do in 2 shards (medqa 100)" in text
    assert "no_path_within_bound 50" in text
    assert "set plan.price_per_gpu_hour" in text


@pytest.mark.parametrize(
    ("content", "fault"), [(None, "there is no such file"), ("{}", "it is no forecast"), ("[", "it is no forecast")]
)
def test_rates_that_are_none(tmp_path: Path, content: str | None, fault: str) -> None:
    file = tmp_path / "rates.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=fault) as raised:
        read_rates(Config(plan=PlanConfig(rates=str(file))))
    assert "generate.py --plan" in str(raised.value)


@pytest.mark.ray
def test_a_plan_writes_nothing_and_stands_beside_what_came(config: Config, tmp_path: Path) -> None:
    script = Path(config.engine.model)
    script.write_text(json.dumps({"rules": SCRIPT, "delay_s": 0.2}), encoding="utf-8")
    file = tmp_path / "plan.json"
    config = replace(config, plan=PlanConfig(sample=32, file=str(file), price_per_gpu_hour=2.0))
    with pytest.raises(ConfigError, match=r"plan\.file"):
        pipeline.generate(config)
    rates, expected = pipeline.plan(config)
    assert not Path(config.run.uri).exists()
    assert json.loads(file.read_text())["expected"] == expected
    manifest = pipeline.generate(config)
    forecast = manifest["forecast"]
    assert forecast["expected"] == expected
    same = ("questions", "accepted", "rejected_by_reason", "by_stage", "requests", "tokens")
    assert {key: forecast["actual"][key] for key in same} == {key: expected[key] for key in same}
    assert forecast["actual"]["wall_s"] == pytest.approx(manifest["wall_s"], abs=0.1)
    with pytest.raises(RunError, match="nothing is left"):
        pipeline.plan(config)
    given = replace(config.plan, file=None, rates=str(file))
    again = replace(config, run=replace(config.run, uri=str(tmp_path / "other")), plan=given)
    assert pipeline.plan(again) == (rates, expected)
