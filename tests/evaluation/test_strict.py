"""The strict scorer: its grammar on planted transcripts, and what holds for any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medreason_dist.evaluation.strict import StrictAnswer, strict_answer
from medreason_dist.schemas import NoAnswer
from tests.evaluation.transcripts import CASES, DRUGS, TEN, Case

PIECES = st.sampled_from(
    "A|B|C|E|I|answer|the answer is |Answer: |not |if |(|)|.|,|\n| |**|?|\\boxed{|}|Metformin|Metformin and insulin|"
    "insulin|is correct|or |and |<think>|</think>".split("|")
)
TEXTS = st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=14).map("".join))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_planted_transcript(case: Case) -> None:
    found = strict_answer(case.text, case.options, several=case.several, truncated=case.truncated)
    assert (found.label or found.fault) == case.strict


def test_planted_transcripts_are_many_and_distinct() -> None:
    assert len({(case.text, case.truncated, tuple(case.options)) for case in CASES}) > 100
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.strict for case in CASES} >= {*NoAnswer, "A", "B", "C", "D", "I", "J"}


@given(TEXTS, st.booleans(), st.booleans())
def test_any_text_has_a_label_or_a_reason(text: str, several: bool, truncated: bool) -> None:
    found = strict_answer(text, DRUGS, several=several, truncated=truncated)
    assert (found.label is None) != (found.fault is None)
    assert found.label is None or set(found.label.split(",")) <= set(DRUGS)
    assert several or found.label is None or "," not in found.label


@given(TEXTS.filter(lambda text: "<think>" not in text and "{" not in text), st.sampled_from("ABCD"))
def test_the_form_that_is_asked_for_is_read_whatever_stands_before(text: str, label: str) -> None:
    assert strict_answer(f"{text}\n\nAnswer: {label}", DRUGS) == (label, None)


@pytest.mark.parametrize("label", list(TEN))
@pytest.mark.parametrize(
    "form", ["Answer: {}", "The answer is ({}).", "\\boxed{{{}}}", "**{}**", "Answer: {}. {text}", "{text}"]
)
def test_every_letter_in_every_form(label: str, form: str) -> None:
    text = TEN[label]
    assert strict_answer(form.format(label, text=text), TEN) == StrictAnswer(label, None)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        ("the answer is ", "none_stated"),
        ("Answer:", "not_an_option"),
        ("I choose ", "none_stated"),
        ("\\boxed{", "none_stated"),
        (" ", "none_stated"),
    ],
)
def test_a_hundred_kilobytes_of_one_piece_are_read_in_linear_time(piece: str, expected: str) -> None:
    # Quadratic time would be minutes.
    options = {"A": "long " * 400, "B": "x", "C": "y"}
    assert strict_answer(piece * (100_000 // len(piece)), options) == (None, expected)
