"""All figures of a review: from sides back to methods, from answers to means, agreement and wrong steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medreason_dist.review.agreement import Agreement, measure_agreement
from medreason_dist.review.answers import Answers, TraceAnswers
from medreason_dist.review.criteria import Criterion, Preference
from medreason_dist.review.estimate import Estimate, SignTest, compare_signs, estimate_mean
from medreason_dist.review.key import Key
from medreason_dist.review.sample import Method, Origin, SampledQuestion

_SIGNS: Final = {Method.first: 1.0, Method.second: -1.0}


@dataclass(frozen=True)
class Answered:
    """How far a reviewer came."""

    complete: int
    begun: int
    """Items with some answer that are not complete."""
    asked: int
    returned: bool
    """Whether a file came back."""


@dataclass(frozen=True)
class Preferences:
    """Shares of all judgements on pairs, each None where nobody judged."""

    first: Estimate | None
    none: Estimate | None
    second: Estimate | None
    side_a: Estimate | None
    """Of the judgements that prefer one, those that prefer side A: 0.5 where the side does not matter."""
    signs: SignTest
    agreement: Agreement


@dataclass(frozen=True)
class Grades:
    """One criterion."""

    means: Mapping[str, Estimate | None]
    """By method."""
    difference: Estimate | None
    """First less second, where the same reviewer graded both traces of a question."""
    agreement: Agreement


@dataclass(frozen=True)
class Remark:
    """What one reviewer wrote."""

    reviewer: str
    text: str


@dataclass(frozen=True)
class WrongStep:
    """A step that somebody called wrong."""

    item: str
    question: str
    method: str
    step: int
    text: str
    called: int
    """By how many reviewers."""
    judged: int
    """Of how many who said anything of the trace."""
    whys: Sequence[Remark]


@dataclass(frozen=True)
class Comments:
    """The free text on one trace."""

    item: str
    question: str
    method: str
    remarks: Sequence[Remark]


@dataclass(frozen=True)
class Summary:
    """What came of a review."""

    sample: str
    """Its fingerprint."""
    questions: int
    origins: Mapping[str, Origin]
    """By method."""
    answered: Mapping[str, Answered]
    """By reviewer."""
    preferences: Preferences | None
    """None where each trace stands alone."""
    grades: Mapping[str, Grades]
    """By criterion."""
    wrong_steps: Sequence[WrongStep]
    """Those that most reviewers called wrong first."""
    comments: Sequence[Comments]


@dataclass(frozen=True)
class _Judged:
    """One trace and what the reviewers say of it."""

    question: SampledQuestion
    method: str
    answers: Mapping[str, TraceAnswers]
    """By reviewer."""


def summarise(key: Key, answers: Mapping[str, Answers]) -> Summary:
    """Returns the figures of the answers that came back, by reviewer."""
    sample = key.sample
    traces = list(_collect(key, answers))
    wrong = [step for trace in traces for step in _find_wrong(trace)]
    return Summary(
        sample=sample.fingerprint,
        questions=len(sample.questions),
        origins=sample.origins,
        answered={name: _count(answers.get(name), len(sample.questions)) for name in key.reviewers},
        preferences=_measure_preferences(key, answers) if len(sample.origins) > 1 else None,
        grades={criterion.value: _measure_grades(key, traces, criterion) for criterion in Criterion},
        wrong_steps=sorted(wrong, key=lambda each: (-each.called, -each.called / each.judged)),
        comments=[comments for trace in traces if (comments := _find_comments(trace)).remarks],
    )


def _count(answers: Answers | None, asked: int) -> Answered:
    items = answers.items.values() if answers else []
    complete = sum(item.complete for item in items)
    return Answered(complete, sum(item.given for item in items) - complete, asked, answers is not None)


def _collect(key: Key, answers: Mapping[str, Answers]) -> Iterator[_Judged]:
    for method in key.sample.origins:
        for question in key.sample.questions:
            given = {}
            for reviewer, each in answers.items():
                sides = key.reviewers[reviewer].sides[question.item]
                side = next(side for side, there in sides.items() if there == method)
                given[reviewer] = each.items[question.item].traces[side]
            yield _Judged(question, method, given)


def _measure_preferences(key: Key, answers: Mapping[str, Answers]) -> Preferences:
    signs, sides = (np.full((len(answers), len(key.sample.questions)), np.nan) for _ in range(2))
    for row, (reviewer, each) in enumerate(answers.items()):
        for column, question in enumerate(key.sample.questions):
            preferred = each.items[question.item].preference
            if preferred is Preference.none:
                signs[row, column] = 0
            elif preferred is not None:
                signs[row, column] = _SIGNS[Method(key.reviewers[reviewer].sides[question.item][preferred])]
                sides[row, column] = preferred is Preference.A
    judged = np.isfinite(signs)
    first, none, second = (
        estimate_mean(np.where(judged, signs == sign, np.nan), f"preference {sign:g}") for sign in (1, 0, -1)
    )
    return Preferences(
        first=first,
        none=none,
        second=second,
        side_a=estimate_mean(sides, "side A"),
        signs=compare_signs(signs),
        agreement=measure_agreement(signs, "nominal"),
    )


def _measure_grades(key: Key, traces: Sequence[_Judged], criterion: Criterion) -> Grades:
    by_method = {
        method: _grades([trace for trace in traces if trace.method == method], criterion)
        for method in key.sample.origins
    }
    difference = None
    if len(by_method) > 1:
        difference = estimate_mean(by_method[Method.first] - by_method[Method.second], f"{criterion} difference")
    return Grades(
        means={method: estimate_mean(values, f"{criterion} {method}") for method, values in by_method.items()},
        difference=difference,
        agreement=measure_agreement(np.hstack(list(by_method.values())), "ordinal"),
    )


def _grades(traces: Sequence[_Judged], criterion: Criterion) -> NDArray[np.float64]:
    """Returns the grades of traces, of shape (reviewers, traces), nan where there is none."""
    return np.array(
        [[answers.grades[criterion] for answers in trace.answers.values()] for trace in traces], np.float64
    ).T


def _find_wrong(trace: _Judged) -> Iterator[WrongStep]:
    judged = [answers for answers in trace.answers.values() if answers.given]
    for number, text in enumerate(trace.question.traces[trace.method], start=1):
        called = {name: each.wrong[number] for name, each in trace.answers.items() if number in each.wrong}
        if called:
            whys = [Remark(name, why) for name, why in called.items() if why]
            question = trace.question
            yield WrongStep(
                question.item, question.question, trace.method, number, text, len(called), len(judged), whys
            )


def _find_comments(trace: _Judged) -> Comments:
    remarks = [Remark(name, each.comment) for name, each in trace.answers.items() if each.comment]
    return Comments(trace.question.item, trace.question.question, trace.method, remarks)
