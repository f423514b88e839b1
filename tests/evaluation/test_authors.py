"""The authors' scorer, told over: what it finds in planted transcripts, and each of its steps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medreason_dist.evaluation.authors import AuthorsAnswer, authors_answer
from medreason_dist.evaluation.strict import strict_answer
from medreason_dist.schemas import FoundBy
from tests.evaluation.transcripts import CASES, DRUGS, Case


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_planted_transcript(case: Case) -> None:
    found = authors_answer(case.text, case.options)
    assert found.first + found.last == case.authors


@pytest.mark.parametrize(
    ("text", "first", "last", "by"),
    [
        # Only what stands behind the last heading counts, and the first kind of heading goes before the other.
        ("(A)\n## Final Response\n\nIt is (B).", "B", "B", FoundBy.letter),
        ("(A)\n## Final Answer\n\nIt is (B).", "B", "B", FoundBy.letter),
        ("## Final Answer\n\n(A)\n## Final Response\n\n(B)\n## Final Answer\n\n(C)", "B", "C", FoundBy.letter),
        # «answer is» and a letter goes before letters alone, even where a word goes on or no option has it.
        ("(D) The answer is Certain. So the answer is B (A).", "C", "B", FoundBy.letter),
        ("(D) The answer is Not clear.", "N", "N", FoundBy.letter),
        ("(D) The answer is certain.", "D", "D", FoundBy.letter),
        # Letters alone: an A before a space is none, and a space belongs to one letter only.
        ("A drug: (B), (C).", "B", "C", FoundBy.letter),
        ("B C D", "B", "D", FoundBy.letter),
        ("B C", "B", "B", FoundBy.letter),
        ("选A项", "A", "A", FoundBy.letter),
        ("(E)", "C", "C", FoundBy.similarity),
        # Texts: «first» is the one whose first place is the latest.
        ("glipizide, insulin, glipizide", "B", "A", FoundBy.text),
        # Nothing: the most similar text, the last of several.
        ("metphormin", "C", "C", FoundBy.similarity),
        ("", "D", "D", FoundBy.similarity),
    ],
)
def test_each_step(text: str, first: str, last: str, by: FoundBy) -> None:
    assert authors_answer(text, DRUGS) == AuthorsAnswer(first, last, by)


def test_letters_are_as_many_as_options_and_fourteen_at_most() -> None:
    many = {letter: f"text {number}" for number, letter in enumerate("ABCDEFGHIJKLMNOP")}
    assert authors_answer("(E)", {**DRUGS, "E": "Exenatide"}).first == "E"
    assert authors_answer("(N) (P)", many) == ("N", "N", FoundBy.letter)


@given(st.text(max_size=80))
def test_there_is_always_an_answer(text: str) -> None:
    found = authors_answer(text, DRUGS)
    assert found.by is FoundBy.letter or {found.first, found.last} <= set(DRUGS)


def test_the_examples_of_the_documentation_are_so() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    examples = re.findall(r"^\| `(.+)` \| (\w+) \| (\w), (\w) \|$", page, flags=re.MULTILINE)
    assert len(examples) > 10
    for text, strict, first, last in examples:
        stated = strict_answer(text, DRUGS)
        assert (text, stated.label or stated.fault, *authors_answer(text, DRUGS)[:2]) == (text, strict, first, last)
