"""What one reviewer gets: the sample in an order and on sides of its own, without a word on methods.

Both derive from ``run.seed``, the reviewer and the datasets' fingerprints, which no page shows: who knows all of these can
tell the sides. Half of the questions have either method on side A.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from medreason_dist.ids import derive_seed, fingerprint
from medreason_dist.review.sample import Method, Sample, SampledQuestion

VERSION: Final = 1
"""Of what a file of answers holds and means, the criteria among it."""
SIDES: Final = ("A", "B")

Sides = Mapping[str, Mapping[str, str]]
"""By item, in the order of the page: the method on each side."""


@dataclass(frozen=True)
class Item:
    """A question as a reviewer sees it: the steps of a trace for each side, of which one trace alone has one."""

    id: str
    question: str
    context: str
    options: str
    answer: str
    traces: Mapping[str, Sequence[str]]

    @property
    def paired(self) -> bool:
        """Whether there are two traces to choose from."""
        return len(self.traces) > 1


@dataclass(frozen=True)
class Questionnaire:
    """All items of one reviewer."""

    reviewer: str
    items: Sequence[Item]

    @property
    def fingerprint(self) -> str:
        """What ties answers to it. It is a digest of what the reviewer sees, so that it can tell nothing else."""
        return fingerprint([VERSION, asdict(self)])


def assign_sides(sample: Sample, reviewer: str) -> Sides:
    """Returns the order and the sides for a reviewer.

    They depend on the set of the datasets, not on which of them comes first.
    """
    known_to_the_lab = sorted(origin.fingerprint for origin in sample.origins.values())

    def rank(of: str) -> list[SampledQuestion]:
        return sorted(
            sample.questions,
            key=lambda each: derive_seed(of, sample.seed, reviewer, *known_to_the_lab, each.question_id),
        )

    methods = [method.value for method in Method if method in sample.origins]
    turned = {each.item for each in rank("side")[: len(sample.questions) // 2]}
    return {
        each.item: dict(zip(SIDES, reversed(methods) if each.item in turned else methods, strict=False))
        for each in rank("order")
    }


def build_questionnaire(sample: Sample, reviewer: str, sides: Sides) -> Questionnaire:
    """Returns what a reviewer sees of a sample."""
    questions = {each.item: each for each in sample.questions}
    return Questionnaire(reviewer, [_show(questions[item], methods) for item, methods in sides.items()])


def _show(question: SampledQuestion, methods: Mapping[str, str]) -> Item:
    traces = {side: question.traces[method] for side, method in methods.items()}
    return Item(question.item, question.question, question.context, question.options, question.answer, traces)
