"""The records that pass between the stages, and the typed way out of the program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medreason_dist.schemas import LinkedBy, RejectReason, Side


class Rejected(Exception):
    """Ends the program of one question with a reason from the closed list and a detail for people."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Question:
    """One row of :data:`medreason_dist.schemas.QUESTIONS`. ``options`` maps labels to texts, in order."""

    question_id: str
    question: str
    context: str | None
    options: Mapping[str, str]
    answer: str
    answer_label: str | None
    answer_context: str | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Question:
        """Returns the question of a row."""
        return cls(
            question_id=row["question_id"],
            question=row["question"],
            context=row["context"],
            options={option["label"]: option["text"] for option in row["options"] or []},
            answer=row["answer"],
            answer_label=row["answer_label"],
            answer_context=row["answer_context"],
        )

    @property
    def full_answer(self) -> str:
        """The answer with what explains it: the text in which its entities are looked for."""
        return f"{self.answer}. {self.answer_context}" if self.answer_context else self.answer

    @property
    def answer_labels(self) -> tuple[str, ...]:
        """The labels of all right options; empty for an open question."""
        return tuple(self.answer_label.split(",")) if self.answer_label else ()


@dataclass(frozen=True)
class Mention:
    """A span that names an entity. ``type`` is one of :class:`~medreason_dist.schemas.NodeType` where it is known."""

    text: str
    side: Side
    type: str | None
    found_by: str


@dataclass(frozen=True)
class Entity:
    """A mention that is linked to a node. ``score`` is 1 for a match of names, else the cosine similarity."""

    node: int
    mention: str
    score: float
    linked_by: LinkedBy
    side: Side


@dataclass(frozen=True)
class Path:
    """Nodes from a question entity to an answer entity; ``rank`` counts from 1 within the pair."""

    nodes: tuple[int, ...]
    rank: int
    reason: str = ""


@dataclass(frozen=True)
class PathGroup:
    """The candidates of one pair of entities. ``count`` shortest paths exist; ``candidates`` may be fewer."""

    source: int
    target: int
    count: int
    candidates: tuple[Path, ...]

    @property
    def length(self) -> int:
        """Hops of each of its paths."""
        return len(self.candidates[0].nodes) - 1


@dataclass(frozen=True)
class TraceSections:
    """The sections of a trace, as the engine wrote them."""

    paths: str
    reasoning: str
    conclusion: str


@dataclass(frozen=True)
class Verdict:
    """``correct`` or ``incorrect``, and who says so: ``option_match`` or the judge's model."""

    verdict: str
    by: str
