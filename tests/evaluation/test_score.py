"""Scores: formulas against published and hand-computed values, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medreason_dist.errors import ReconcileError, RunError
from medreason_dist.evaluation.score import (
    MACRO,
    Scorer,
    collect_answers,
    compare_answers,
    estimate_accuracy,
    mcnemar,
    summarise,
)
from tests.evaluation.predictions import RIGHT, WRONG, Sample, row, rows, table

FIRST_ONLY, LAST_ONLY = (False, True, False), (False, False, True)


def outcomes(right: int, questions: int) -> list[Sample]:
    return [RIGHT] * right + [WRONG] * (questions - right)


@pytest.mark.parametrize(
    ("right", "questions", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(right: int, questions: int, low: float, high: float) -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    correct = np.arange(questions).reshape(-1, 1) < right
    found = estimate_accuracy(correct)
    assert found.value == right / questions
    assert found[1:] == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [(1, 9, 22 / 1024), (9, 1, 22 / 1024), (0, 6, 2 / 64), (5, 5, 1.0), (0, 0, 1.0), (0, 1, 1.0)],
)
def test_mcnemar_by_hand(only_first: int, only_second: int, expected: float) -> None:
    # Twice the binomial tail at one half: (C(10,0) + C(10,1)) / 2**10, C(6,0) / 2**6.
    assert mcnemar(only_first, only_second) == pytest.approx(expected)


def test_pass_at_1_resamples_questions_not_samples() -> None:
    rng = np.random.default_rng(0)
    one = rng.random((300, 1)) < 0.4
    alike = estimate_accuracy(np.repeat(one, 5, axis=1))
    # Five samples that agree tell no more than one: the interval is that of 300 questions, not of 1,500.
    spread = 2 * 1.96 * np.sqrt(one.mean() * (1 - one.mean()) / 300)
    assert alike.value == pytest.approx(one.mean())
    assert alike.high - alike.low == pytest.approx(spread, rel=0.05)
    assert estimate_accuracy(np.array([[True, False], [True, True], [False, False]])).value == pytest.approx(0.5)


def test_two_questions_by_hand() -> None:
    # Means of resamples are 0, 1/2 and 1 with probabilities 1/4, 1/2, 1/4: both ends are beyond 2.5 %.
    assert estimate_accuracy(np.array([[True, True], [False, False]])) == (0.5, 0.0, 1.0)


def test_the_authors_score_is_the_better_of_two_for_the_whole_benchmark() -> None:
    found = summarise(table(rows("medqa", [FIRST_ONLY] * 3 + [LAST_ONLY] * 2 + [RIGHT] + [WRONG] * 4)))
    scores = found["by_benchmark"]["medqa"]
    assert (scores["strict"]["value"], scores["authors"]["value"]) == (0.1, 0.4)
    told = {name: scores["authors"][name] for name in ("takes", "first", "last", "either")}
    assert told == {"takes": "first", "first": 0.4, "last": 0.3, "either": 0.6}
    tie = summarise(table(rows("medqa", [FIRST_ONLY, LAST_ONLY])))["by_benchmark"]["medqa"]["authors"]
    assert (tie["takes"], tie["value"]) == ("last", 0.5)


def test_summary_counts_why_there_is_no_answer_and_keeps_errors_as_wrong() -> None:
    given_rows = [
        row("medqa", "a", [WRONG], strict_fault="several"),
        row("medqa", "b", [WRONG], error="too_long"),
        row("medqa", "c", [RIGHT]),
        row("hle", "d", [RIGHT]),
    ]
    found = summarise(table(given_rows))
    medqa = found["by_benchmark"]["medqa"]
    assert (medqa["questions"], medqa["samples"], medqa["errors"]) == (3, 1, {"too_long": 1})
    assert medqa["strict"]["no_answer"] == {"several": 1}
    assert medqa["strict"]["value"] == pytest.approx(1 / 3)
    assert found["macro_average"]["strict"]["value"] == pytest.approx((1 / 3 + 1) / 2)
    assert json.loads(json.dumps(found)) == found
    assert list(found["by_benchmark"]) == ["medqa", "hle"]
    assert summarise(table([])) == {"by_benchmark": {}, "macro_average": None}


def test_the_order_of_rows_changes_nothing() -> None:
    given_rows = rows("medqa", outcomes(3, 9)) + rows("hle", outcomes(2, 4))
    assert summarise(table(given_rows)) == summarise(table(given_rows[::-1]))
    forth, back = (collect_answers(table(order)) for order in (given_rows, given_rows[::-1]))
    assert [pair.only_first for pair in compare_answers(forth, back)] == [0, 0, None] * 2


def test_macro_interval_holds_its_value_and_weighs_benchmarks_alike() -> None:
    found = summarise(table(rows("medqa", outcomes(90, 100)) + rows("hle", outcomes(1, 10))))["macro_average"]["strict"]
    # Variances of the means are 0.0009 and 0.009; of their average a quarter of the sum.
    assert found["value"] == pytest.approx(0.5)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * np.sqrt((0.0009 + 0.009) / 4), rel=0.1)


def test_a_paired_comparison_by_hand() -> None:
    first = collect_answers(table(rows("medqa", [RIGHT] * 50 + [WRONG] * 50)))
    second = collect_answers(table(rows("medqa", [RIGHT] * 49 + [WRONG] * 1 + [RIGHT] * 9 + [WRONG] * 41)))
    pair, authors = compare_answers(first, second)
    assert (pair.benchmark, pair.scorer, authors.scorer, pair.questions) == (
        "medqa",
        Scorer.strict,
        Scorer.authors,
        100,
    )
    assert (pair.only_first, pair.only_second) == (1, 9)
    assert pair.p_value == pytest.approx(22 / 1024)
    assert pair.difference.value == pytest.approx(0.08)
    # Differences are -1 once, 1 nine times and 0 else: variance 0.1 - 0.08**2.
    assert pair.difference.high - pair.difference.low == pytest.approx(2 * 1.96 * np.sqrt(0.0936 / 100), rel=0.1)


def test_several_benchmarks_and_samples_are_compared_by_bootstrap_alone() -> None:
    of = [row(name, f"q{n}", [RIGHT, WRONG]) for name in ("medqa", "hle") for n in range(4)]
    better = [row(name, f"q{n}", [RIGHT, RIGHT]) for name in ("medqa", "hle") for n in range(4)]
    pairs = compare_answers(collect_answers(table(of)), collect_answers(table(better)))
    assert [pair.benchmark for pair in pairs] == ["medqa", "hle", MACRO] * 2
    assert {pair.difference for pair in pairs} == {(0.5, 0.5, 0.5)}
    assert {(pair.p_value, pair.only_first) for pair in pairs} == {(None, None)}


def test_other_questions_are_refused() -> None:
    first, second = (collect_answers(table(rows("medqa", outcomes(1, size)))) for size in (3, 5))
    with pytest.raises(
        RunError, match=r"same questions of medqa: the first alone has 0, the second alone 2, such as q0003"
    ):
        compare_answers(first, second, "runs/a, runs/b")
    with pytest.raises(RunError, match="no benchmark in common: medqa; hle"):
        compare_answers(first, collect_answers(table(rows("hle", outcomes(1, 3)))))


def test_numbers_of_samples_that_differ_are_a_fault() -> None:
    with pytest.raises(ReconcileError, match=r"medqa: questions have \[1, 2\] samples"):
        collect_answers(table([row("medqa", "a", [RIGHT]), row("medqa", "b", [RIGHT, WRONG])]))


@settings(max_examples=25)
@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=30))
def test_an_interval_holds_its_value(correct: list[list[bool]]) -> None:
    for samples in (np.array(correct), np.array(correct)[:, :1]):
        found = estimate_accuracy(samples)
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found == estimate_accuracy(samples[::-1])


@settings(max_examples=15)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_comparison_turned_round_is_its_opposite(both: list[tuple[bool, bool]]) -> None:
    first, second = (
        collect_answers(table(rows("hle", [RIGHT if each[side] else WRONG for each in both]))) for side in (0, 1)
    )
    forth, back = compare_answers(first, second)[0], compare_answers(second, first)[0]
    assert forth.difference.value == pytest.approx(-back.difference.value)
    assert (forth.only_first, forth.only_second, forth.p_value) == (back.only_second, back.only_first, back.p_value)
