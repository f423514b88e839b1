"""What came out of a comparison, as one table: a line for each benchmark, a column for each variant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medreason_dist.evaluation.comparison import (
    Evaluation,
    format_difference,
    format_estimate,
    format_p_value,
    pair_up,
)
from medreason_dist.evaluation.score import Paired, Scorer


@dataclass(frozen=True)
class Learned:
    """What a variant was fine-tuned on, and what became of its held-out loss."""

    chats: int
    learned_tokens: int
    steps: int
    before: float | None
    after: float | None

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Learned:
        """Returns what the manifest of a fine-tuning says."""
        counts = manifest["counts"][manifest["config"]["finetune"]["train_split"]]
        loss = manifest["held_out_loss"] or {"before": None, "after": None}
        return cls(counts["chats"], counts["learned_tokens"], manifest["steps"], loss["before"], loss["after"])


@dataclass(frozen=True)
class Comparison:
    """The evaluations of all variants on the same questions, the base model's first, and what each had learned."""

    evaluations: Sequence[Evaluation]
    learned: Mapping[str, Learned]

    @property
    def pairs(self) -> list[tuple[str, str, list[Paired]]]:
        """Every two variants by name, with how the second differs from the first."""
        return [(first.name, second.name, pairs) for first, second, pairs in pair_up(self.evaluations)]

    def as_json(self) -> dict[str, Any]:
        """Returns all figures as plain values."""
        return {
            "learned": {name: asdict(learned) for name, learned in self.learned.items()},
            "scores": {
                scorer.value: {
                    each.name: {name: row._asdict() for name, row in each.estimates(scorer).items()}
                    for each in self.evaluations
                }
                for scorer in Scorer
            },
            "differences": [
                {"first": first, "second": second, **pair._asdict(), "difference": pair.difference._asdict()}
                for first, second, pairs in self.pairs
                for pair in pairs
            ],
        }


def format_comparison(comparison: Comparison) -> str:
    """Returns the table of the strict score, then each pair's differences with their tests, as text."""
    return "\n".join([*_learned_lines(comparison), "", *_score_lines(comparison), "", *_pair_lines(comparison)])


def _learned_lines(comparison: Comparison) -> Iterator[str]:
    yield f"{'fine-tuned on':<18}{'chats':>8}{'learned tokens':>16}{'steps':>8}{'held-out loss':>22}"
    for name, each in comparison.learned.items():
        loss = "–" if each.before is None else f"{each.before:.4f} → {each.after:.4f}"
        yield f"{name:<18}{each.chats:>8,}{each.learned_tokens:>16,}{each.steps:>8,}{loss:>22}"


def _score_lines(comparison: Comparison) -> Iterator[str]:
    columns = {each.name: each.estimates(Scorer.strict) for each in comparison.evaluations}
    yield f"{'strict score, %':<18}" + "".join(f"{name:>22}" for name in columns)
    for benchmark in next(iter(columns.values())):
        yield f"{benchmark:<18}" + "".join(f"{format_estimate(scores[benchmark]):>22}" for scores in columns.values())


def _pair_lines(comparison: Comparison) -> Iterator[str]:
    yield f"{'strict score, points':<32}{'benchmark':<16}{'difference':>24}{'only one right':>18}{'McNemar p':>12}"
    for first, second, pairs in comparison.pairs:
        for pair in pairs:
            if pair.scorer is Scorer.strict:
                only = "–" if pair.only_first is None else f"{pair.only_first:,} : {pair.only_second:,}"
                line = f"{f'{second} less {first}':<32}{pair.benchmark:<16}{format_difference(pair.difference):>24}"
                yield f"{line}{only:>18}{format_p_value(pair.p_value):>12}"
