"""The answers of one reviewer, checked field by field against the questionnaire that they answer.

A file holds ``version review reviewer answers`` and, where the page saved it, ``digest`` over the other four:

    answers.<item>.preference                  A, B, none; null where it is not answered or there is one trace
    answers.<item>.traces.<side>.grades        a number from 1 to 5, or null, for each criterion
    answers.<item>.traces.<side>.wrong         step (from "1") → why, which may be empty
    answers.<item>.traces.<side>.comment       text
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from medreason_dist.errors import SourceError
from medreason_dist.ids import fingerprint
from medreason_dist.review.criteria import GRADES, Criterion, Preference
from medreason_dist.review.key import Key
from medreason_dist.review.questionnaire import VERSION, Item

LONGEST_TEXT: Final = 10_000
"""Characters of a comment or a why."""
SAVE_AGAIN: Final = "ask the reviewer to save it again, or to correct it in their page or workbook"


@dataclass(frozen=True)
class TraceAnswers:
    """What a reviewer says of one trace."""

    grades: Mapping[Criterion, int | None]
    wrong: Mapping[int, str]
    """Why, by step; steps count from 1."""
    comment: str

    @property
    def given(self) -> bool:
        """Whether the reviewer said anything of it."""
        return bool(self.wrong or self.comment) or any(grade is not None for grade in self.grades.values())


@dataclass(frozen=True)
class ItemAnswers:
    """What a reviewer says of one item."""

    preference: Preference | None
    traces: Mapping[str, TraceAnswers]
    """By side."""

    @property
    def given(self) -> bool:
        """Whether the reviewer said anything of it."""
        return self.preference is not None or any(trace.given for trace in self.traces.values())

    @property
    def complete(self) -> bool:
        """Whether all is answered that has to be: grades, and of two traces the preference."""
        grades = [grade for trace in self.traces.values() for grade in trace.grades.values()]
        return None not in grades and (len(self.traces) == 1 or self.preference is not None)


@dataclass(frozen=True)
class Answers:
    """All that a reviewer said."""

    reviewer: str
    items: Mapping[str, ItemAnswers]


def parse_answers(held: Any, key: Key, where: str) -> Answers:
    """Returns the answers that a file holds.

    Raises :class:`SourceError` for one that was changed, is of another review or an unknown reviewer, or has a value that
    does not answer its question.
    """
    content = dict(_require_keys(held, ("version", "review", "reviewer", "answers"), where, optional=("digest",)))
    if content.pop("digest", None) != fingerprint(content) and "digest" in held:
        raise SourceError("the answers were changed after saving: their digest is another one", where, SAVE_AGAIN)
    if content["version"] != VERSION:
        what = f"the answers are of version {content['version']!r:.40}, this one reads {VERSION}"
        raise SourceError(what, where, "summarise with the version that made the review")
    reviewer = content["reviewer"]
    if not isinstance(reviewer, str) or reviewer not in key.reviewers:
        what = f"the reviewer {reviewer!r:.80} is unknown: the review has {', '.join(key.reviewers)}"
        raise SourceError(what, where, "leave the file out, or make a page for this reviewer by review.reviewers")
    if content["review"] != key.reviewers[reviewer].questionnaire:
        what = f"the answers are from another sample: not to what {reviewer} was sent for this review"
        raise SourceError(what, where, "move the file to the answers/ of its own review")
    items = {item.id: item for item in key.questionnaire(reviewer).items}
    answers = _require_keys(content["answers"], items, where)
    return Answers(reviewer, {name: _parse_item(answers[name], item, where) for name, item in items.items()})


def _parse_item(held: Any, item: Item, where: str) -> ItemAnswers:
    here = f"{where}, item {item.id}"
    fields = _require_keys(held, ("preference", "traces"), here)
    preference = fields["preference"]
    allowed = [each.value for each in Preference] if item.paired else []
    if preference is not None and preference not in allowed:
        meant = f"one of {', '.join(allowed)}" if allowed else "empty where there is one trace"
        raise SourceError(f"the preference is {preference!r:.40}: it must be {meant}", here, SAVE_AGAIN)
    traces = _require_keys(fields["traces"], item.traces, here)
    return ItemAnswers(
        None if preference is None else Preference(preference),
        {side: _parse_trace(traces[side], len(steps), f"{here}, trace {side}") for side, steps in item.traces.items()},
    )


def _parse_trace(held: Any, steps: int, where: str) -> TraceAnswers:
    fields = _require_keys(held, ("grades", "wrong", "comment"), where)
    grades = _require_keys(fields["grades"], list(Criterion), where)
    for criterion, grade in grades.items():
        # True is 1 in Python.
        if grade is not None and (type(grade) is not int or grade not in GRADES):
            what = f"the grade {grade!r:.40} for {criterion} is not a number from {GRADES[0]} to {GRADES[-1]}"
            raise SourceError(what, where, SAVE_AGAIN)
    wrong = fields["wrong"]
    numbers = {str(number): number for number in range(1, steps + 1)}
    if not isinstance(wrong, dict) or (unknown := [step for step in wrong if step not in numbers]):
        told = repr(unknown[0]) if isinstance(wrong, dict) else repr(wrong)
        raise SourceError(f"{told:.80} is called wrong: the trace has steps 1 to {steps}", where, SAVE_AGAIN)
    return TraceAnswers(
        {criterion: grades[criterion] for criterion in Criterion},
        {numbers[step]: _require_text(why, f"why step {step} is wrong", where) for step, why in wrong.items()},
        _require_text(fields["comment"], "the comment", where),
    )


def _require_keys(
    held: Any, expected: Collection[str], where: str, optional: Collection[str] = ()
) -> Mapping[str, Any]:
    if not isinstance(held, dict):
        raise SourceError(f"{held!r:.40} is not what a review page saves", where, SAVE_AGAIN)
    if missing := [name for name in expected if name not in held]:
        raise SourceError(f"'{missing[0]}' is missing ({len(missing)} of {len(expected)})", where, SAVE_AGAIN)
    if unknown := [name for name in held if name not in expected and name not in optional]:
        raise SourceError(f"{unknown[0]!r:.80} is nothing that was asked", where, SAVE_AGAIN)
    return held


def _require_text(held: Any, what: str, where: str) -> str:
    if not isinstance(held, str) or len(held) > LONGEST_TEXT:
        raise SourceError(f"{what} is not a text of up to {LONGEST_TEXT:,} characters", where, SAVE_AGAIN)
    # What a browser may hold and no file can: half of a pair of surrogates.
    return held.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()
