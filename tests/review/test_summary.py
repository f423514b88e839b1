"""From answers on sides to figures of methods, planted so that each can be worked out by hand; text and page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medreason_dist.review.agreement import Agreement
from medreason_dist.review.answers import parse_answers
from medreason_dist.review.estimate import Estimate
from medreason_dist.review.key import Key
from medreason_dist.review.presentation import format_summary, render_summary
from medreason_dist.review.summary import Answered, Remark, Summary, summarise
from tests.review.reviews import Grade, Prefer, answer, make_config, make_key

PREFERRED = {
    # 8 judgements of 4 questions: 4 for the first method, 2 for the second, 2 for neither.
    "r1": {"q1": "first", "q2": "first", "q3": "second", "q4": "none"},
    "r2": {"q1": "first", "q2": "second", "q3": "none", "q4": "first"},
}
HOSTILE = '</p><script>window.hacked=1</script>\u202e =HYPERLINK("http://x") {{ 7*7 }} \'">'


def prefer(reviewer: str, item: str) -> str | None:
    return PREFERRED.get(reviewer, {}).get(item)


def grade(reviewer: str, item: str, method: str, criterion: str) -> int | None:
    if reviewer == "r3":
        return None
    planted = {
        "accuracy": 5 if method == "first" else 2,
        "logic": {"q1": 1, "q2": 2, "q3": 4, "q4": 5}[item],
        "completeness": 3,
        # r2 graded no trace of the second method.
        "usefulness": None if (reviewer, method) == ("r2", "second") else 4 if reviewer == "r1" else 1,
    }
    return planted[criterion]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(make_config(tmp_path_factory.mktemp("key"), questions=4, reviewers=["r1", "r2", "r3"]))


def summarise_answers(key: Key, prefer: Prefer, grade: Grade) -> Summary:
    files = {name: answer(key, name, prefer, grade) for name in ("r1", "r2")}
    # Steps as the reviewers see them, on the side where the second method stands.
    for name, why in (("r1", HOSTILE), ("r2", "")):
        side = next(side for side, method in key.reviewers[name].sides["q3"].items() if method == "second")
        files[name]["answers"]["q3"]["traces"][side] |= {"wrong": {"2": why}, "comment": why}
    return summarise(key, {name: parse_answers(held, key, name) for name, held in files.items()})


@pytest.fixture(scope="module")
def summary(key: Key) -> Summary:
    return summarise_answers(key, prefer, grade)


def test_sides_become_methods(summary: Summary) -> None:
    assert summary.preferences is not None
    shares = [summary.preferences.first, summary.preferences.none, summary.preferences.second]
    assert [each and (each.value, each.judgements, each.questions) for each in shares] == [
        (0.5, 8, 4),
        (0.25, 8, 4),
        (0.25, 8, 4),
    ]
    signs = summary.preferences.signs
    # q1 and q4 for the first, q3 for the second, q2 even.
    assert (signs.first, signs.second, signs.even, signs.p_value) == (2, 1, 1, 1.0)
    assert summary.preferences.agreement.units == 4
    assert summary.answered == {
        "r1": Answered(4, 0, 4, True),
        "r2": Answered(0, 4, 4, True),
        "r3": Answered(0, 0, 4, False),
    }


def test_grades_by_method_and_their_paired_difference(summary: Summary) -> None:
    accuracy, logic, completeness, usefulness = (summary.grades[name] for name in summary.grades)
    assert [each and each.value for each in accuracy.means.values()] == [5.0, 2.0]
    assert accuracy.difference == Estimate(3.0, 3.0, 3.0, 8, 4)
    assert accuracy.agreement == Agreement(1.0, 8, 2, None)
    assert logic.difference is not None
    assert logic.difference.value == 0
    assert logic.agreement.alpha == pytest.approx(1)
    assert completeness.agreement.alpha is None
    assert "every judgement is the same" in str(completeness.agreement.reason)
    # Means take all grades; the difference only r1's pairs.
    assert [each and each.value for each in usefulness.means.values()] == [2.5, 4.0]
    assert usefulness.difference is not None
    assert (usefulness.difference.value, usefulness.difference.judgements) == (0, 4)
    # Two values that never agree, in 4 units: D_o = 1, D_e = 2 * 4 * 4 / (8 * 7) in units of their one distance.
    assert usefulness.agreement.alpha == pytest.approx(1 - 56 / 32)


def test_steps_called_wrong_are_those_of_the_method(key: Key, summary: Summary) -> None:
    (step,) = summary.wrong_steps
    question = next(each for each in key.sample.questions if each.item == "q3")
    assert (step.method, step.step, step.called, step.judged) == ("second", 2, 2, 2)
    assert (step.text, step.question) == (question.traces["second"][1], question.question)
    assert step.whys == [Remark("r1", HOSTILE)]
    assert [(each.method, len(each.remarks)) for each in summary.comments] == [("second", 1)]


def test_text_and_page_say_the_same(summary: Summary) -> None:
    text, page = format_summary(summary), render_summary(summary)
    assert "prefer one" in text
    assert re.search(r"prefer one +50\.0 \[", text)
    assert "by majority: 2 questions for one, 1 for two, 1 even; p = 1" in text
    assert "+3.00 [+3.00, +3.00]" in text
    assert "none: every judgement is the same" in text
    assert "nothing came back" in text
    for told in ("2 questions for one", "+3.00 [+3.00, +3.00]", "wrong for 2 of 2 reviewers", "none yet"):
        assert told in page
    assert page.count('class="chart"') == 1


def test_what_reviewers_wrote_stays_text(summary: Summary) -> None:
    page = render_summary(summary)
    assert "<script" not in page
    assert page.count("&lt;script&gt;window.hacked=1&lt;/script&gt;\u202e =HYPERLINK") == 2
    assert "{{ 7*7 }}" in page
    assert page.count('<bdi class="text">&lt;/p&gt;') == 2


def test_traces_that_stand_alone(tmp_path: Path) -> None:
    key = make_key(make_config(tmp_path, questions=3, reviewers=["r1", "r2"], paired=False))
    planted = {"r1": {"q1": 1, "q2": 2, "q3": 3}, "r2": {"q1": 1, "q2": 3, "q3": 3}}
    files = {name: answer(key, name, grade=lambda name, item, *_: planted[name][item]) for name in planted}
    summary = summarise(key, {name: parse_answers(held, key, name) for name, held in files.items()})
    assert summary.preferences is None
    assert summary.answered["r1"].complete == 3
    assert summary.grades["accuracy"].difference is None
    assert summary.grades["accuracy"].agreement.alpha == pytest.approx(7 / 9)
    assert "difference" not in format_summary(summary)
    assert "Preference" not in render_summary(summary)


def test_one_question_has_no_interval_and_nobody_no_figure(tmp_path: Path) -> None:
    key = make_key(make_config(tmp_path, questions=1, reviewers=["r1"]))
    held = answer(key, "r1", prefer=lambda *_: "first", grade=lambda *_: 4)
    summary = summarise(key, {"r1": parse_answers(held, key, "r1")})
    assert summary.preferences is not None
    assert summary.preferences.first == Estimate(1.0, None, None, 1, 1)
    assert "100.0\n" in format_summary(summary).replace(" ", "")
    assert "no two reviewers" in render_summary(summary)
    empty = summarise(key, {"r1": parse_answers(answer(key, "r1"), key, "r1")})
    assert empty.preferences is not None
    assert empty.preferences.first is None
    assert "–" in render_summary(empty)
