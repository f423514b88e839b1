"""What reviewers grade. The four criteria are those of the MedReason paper's experts; the anchors are this project's."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class Criterion(StrEnum):
    """What a trace is graded on."""

    accuracy = "accuracy"
    logic = "logic"
    completeness = "completeness"
    usefulness = "usefulness"


class Preference(StrEnum):
    """Which of two traces a reviewer prefers."""

    A = "A"
    B = "B"
    none = "none"
    """No difference that matters."""


class Guide(NamedTuple):
    """A criterion as a question, and what each grade from 1 up says."""

    question: str
    anchors: tuple[str, str, str, str, str]


GRADES: Final = range(1, 6)
GUIDES: Final[Mapping[Criterion, Guide]] = {
    Criterion.accuracy: Guide(
        "Are its statements true?",
        (
            "Mostly false, or something in it could harm a patient.",
            "Several false statements, or one that the answer rests on.",
            "A false statement, but the answer does not rest on it.",
            "True, but for something imprecise or outdated.",
            "All true, as far as you can tell.",
        ),
    ),
    Criterion.logic: Guide(
        "Does each step follow from what stands before it?",
        (
            "No line of thought, or one that leads to another answer.",
            "A gap or contradiction at a step that the answer rests on.",
            "The line holds, with gaps that the reader has to fill.",
            "Sound, but for a detour or a repetition.",
            "Every step follows, and the answer follows from them.",
        ),
    ),
    Criterion.completeness: Guide(
        "Does it have all that the answer needs?",
        (
            "Nearly everything that matters is left out.",
            "Something is left out without which the answer is not justified.",
            "The answer is justified; findings or alternatives that one expects are left out.",
            "Only what matters little is left out.",
            "Every finding and alternative that matters is dealt with.",
        ),
    ),
    Criterion.usefulness: Guide(
        "Would it help someone who learns from it?",
        (
            "It would mislead them.",
            "It would have to be written anew.",
            "It would help after corrections.",
            "It would help as it is, with small blemishes.",
            "You would hand it on unchanged.",
        ),
    ),
}
