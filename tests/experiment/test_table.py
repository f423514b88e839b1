"""What a comparison prints: a column for each variant, and every pair with its test."""

from __future__ import annotations

from pathlib import Path

import pytest

from medreason_dist.evaluation.comparison import read_evaluations
from medreason_dist.experiment.table import Comparison, Learned, format_comparison
from tests.evaluation.predictions import RIGHT, WRONG, rows, write_evaluation


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """A base model with 50 of 100 right, and a variant with 49 of those and 9 others."""
    path: Path = tmp_path_factory.mktemp("evaluations")
    base = rows("medqa", [RIGHT] * 50 + [WRONG] * 50) + rows("hle", [RIGHT] * 5 + [WRONG] * 15)
    tuned = rows("medqa", [RIGHT] * 49 + [WRONG] + [RIGHT] * 9 + [WRONG] * 41) + rows("hle", [RIGHT] * 20)
    folders = [write_evaluation(path / "base", base), write_evaluation(path / "medreason", tuned)]
    return Comparison(read_evaluations(folders), {"medreason": Learned(1200, 480_000, 90, 1.25, 0.75)})


def test_the_table_has_scores_side_by_side_and_the_paired_test(comparison: Comparison) -> None:
    lines = [line.split() for line in format_comparison(comparison).splitlines()]
    assert ["medreason", "1,200", "480,000", "90", "1.2500", "→", "0.7500"] in lines
    assert ["strict", "score,", "%", "base", "medreason"] in lines
    assert "medqa 50.0 [40.4, 59.6] 58.0 [48.2, 67.2]".split() in lines
    (paired,) = [line for line in lines if line[:4] == ["medreason", "less", "base", "medqa"]]
    # Of ten questions that one alone has right, nine: 2 × (1 + 10) / 2^10.
    assert paired[4] == "+8.0" and paired[-4:] == ["1", ":", "9", "0.021"]
    (average,) = [line for line in lines if line[:5] == ["medreason", "less", "base", "macro", "average"]]
    assert average[5] == "+41.5" and average[-2:] == ["–", "–"]


def test_all_figures_are_there_as_json(comparison: Comparison) -> None:
    told = comparison.as_json()
    assert told["learned"]["medreason"]["after"] == 0.75
    assert told["scores"]["strict"]["medreason"]["medqa"]["value"] == 0.58
    (medqa,) = [d for d in told["differences"] if (d["benchmark"], d["scorer"]) == ("medqa", "strict")]
    assert (medqa["first"], medqa["second"], medqa["only_first"], medqa["only_second"]) == ("base", "medreason", 1, 9)
    assert medqa["difference"]["value"] == pytest.approx(0.08)


def test_what_a_variant_learned_is_read_from_its_manifest() -> None:
    manifest = {
        "counts": {"train": {"chats": 7, "learned_tokens": 90}, "validation": {"chats": 0, "learned_tokens": 0}},
        "config": {"finetune": {"train_split": "train"}},
        "steps": 3,
        "held_out_loss": None,
    }
    assert Learned.of(manifest) == Learned(7, 90, 3, None, None)
