"""The benchmarks: which released files they are, which of their rows are asked, and under which id.

A benchmark is scored whole, as released: nothing is deduplicated, options may repeat each other, and a row that cannot be
asked stops the evaluation unless ``evaluate.invalid_limit`` admits it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from medreason_dist.config import Config
from medreason_dist.errors import ConfigError, ReconcileError, SourceError
from medreason_dist.ids import fingerprint
from medreason_dist.questions.files import digest_files
from medreason_dist.questions.prepare import Dropped, drop_row
from medreason_dist.questions.readers import Invalid, Question, SourceRow, read_source
from medreason_dist.schemas import Benchmark, Dataset, LeftOut

FORMATS: Final = {
    Benchmark.medqa: Dataset.medqa,
    Benchmark.medmcqa: Dataset.medmcqa,
    Benchmark.mmlu: Dataset.mmlu,
    Benchmark.pubmedqa: Dataset.pubmedqa,
    Benchmark.medbullets_op4: Dataset.medqa,
    Benchmark.medbullets_op5: Dataset.medqa,
    Benchmark.medxpertqa: Dataset.medxpertqa,
    Benchmark.hle: Dataset.hle,
}
"""The source whose field names a benchmark's release has."""

OPTION_COUNTS: Final = {Benchmark.medbullets_op4: 4, Benchmark.medbullets_op5: 5}
HLE_CATEGORY: Final = "Biology/Medicine"
"""Of the released HLE's categories the one that counts as biomedical. Extracts without the field are taken as they are."""


@dataclass(frozen=True)
class Counts:
    """What became of the rows of one benchmark."""

    rows_read: int
    left_out: dict[str, int]
    beyond_limit: int
    questions: int


@dataclass(frozen=True)
class Selection:
    """The questions of an evaluation (planned ones first, then in question_id order), the rows that are not asked, in the
    columns of :data:`medreason_dist.schemas.DROPPED`, and every benchmark's counts."""

    questions: list[Question]
    left_out: list[Dropped]
    benchmarks: dict[str, Counts]


def read_questions(config: Config, planned: Collection[str] = ()) -> Selection:
    """Reads all benchmarks; a question's ``dataset`` is its benchmark, its ``question_id`` unique within the evaluation.

    ``planned`` are the ids of the questions that the evaluation has already. Raises :class:`ConfigError` without
    benchmarks, :class:`SourceError` for a file that cannot be read or a row that cannot be asked (row and field are named),
    :class:`ReconcileError` for counts that do not add up.
    """
    if not config.evaluate.benchmarks:
        raise ConfigError(
            "there is nothing to evaluate on", "evaluate.benchmarks", "set evaluate.benchmarks.medqa=FILE"
        )
    questions: list[Question] = []
    left_out: list[Dropped] = []
    counts = {}
    for name, uri in config.evaluate.benchmarks.items():
        benchmark = Benchmark(name)
        rows = read_source(
            FORMATS[benchmark], uri, config.storage, key=f"evaluate.benchmarks.{benchmark}", distinct=False
        )
        asked, passed = _sort_out(benchmark, rows)
        _require_few_invalid(passed, config.evaluate.invalid_limit, f"evaluate.benchmarks.{benchmark}: {uri}")
        taken = sorted(asked, key=lambda each: (each[0], each[1]))[: config.evaluate.limit]
        reasons = Counter(row["drop_reason"] for row in passed)
        beyond = len(asked) - len(taken)
        counts[name] = Counts(len(asked) + len(passed), dict(sorted(reasons.items())), beyond, len(taken))
        questions += [question for _, _, question in taken]
        left_out += passed
    identities = Counter(question["question_id"] for question in questions)
    if len(identities) < len(questions):
        raise ReconcileError(f"two questions have the id {identities.most_common(1)[0][0]}")
    questions.sort(key=lambda question: (question["question_id"] not in planned, question["question_id"]))
    return Selection(questions, left_out, counts)


def digest_benchmarks(config: Config) -> dict[str, str]:
    """Returns the SHA-256 of every benchmark's files; raises as :func:`read_questions` does."""
    return digest_files(config.evaluate.benchmarks.items(), config.storage)


def evaluation_id(benchmark: Benchmark, content_id: str, occurrence: int) -> str:
    """Returns the id (32 hex digits) of the ``occurrence``-th row, from 0, of a benchmark that has this content.

    It does not depend on where in the file the row stands, so that two evaluations pair their questions by it.
    """
    return fingerprint([benchmark.value, content_id, occurrence])[:32]


def _sort_out(benchmark: Benchmark, rows: Iterator[SourceRow]) -> tuple[list[tuple[str, int, Question]], list[Dropped]]:
    """Returns the rows that can be asked, as (content id, occurrence, question), and those that are left out."""
    asked: list[tuple[str, int, Question]] = []
    left_out = []
    seen: Counter[str] = Counter()
    for row in rows:
        parsed = _check(benchmark, row)
        if isinstance(parsed, tuple):
            reason, detail = parsed
            left_out.append(drop_row(benchmark.value, row, reason, detail))
            continue
        content = parsed["question_id"]
        identity = evaluation_id(benchmark, content, seen[content])
        question: Question = {**parsed, "question_id": identity, "dataset": benchmark.value}
        asked.append((content, seen[content], question))
        seen[content] += 1
    return asked, left_out


def _check(benchmark: Benchmark, row: SourceRow) -> Question | tuple[LeftOut, str]:
    """Returns a row's question, or why it is left out, with its detail."""
    if benchmark is Benchmark.hle and isinstance(row.row, Mapping):
        category, image = row.row.get("category"), row.row.get("image")
        if category not in (None, HLE_CATEGORY):
            return LeftOut.other_field, f"category: {category!r:.100}"
        if image not in (None, ""):
            return LeftOut.image, "image: the question has one"
    parsed = row.parsed
    if isinstance(parsed, Invalid):
        return LeftOut.invalid, parsed.detail
    if not parsed["options"]:
        return LeftOut.open, "options: none"
    count = OPTION_COUNTS.get(benchmark)
    if count is not None and len(parsed["options"]) != count:
        return LeftOut.invalid, f"options: {len(parsed['options'])} of them; allowed: {count}"
    return parsed


def _require_few_invalid(left_out: list[Dropped], limit: int, where: str) -> None:
    invalid = [row for row in left_out if row["drop_reason"] == LeftOut.invalid]
    if len(invalid) > limit:
        first = invalid[0]
        what = (
            f"rows that cannot be asked: {len(invalid)}; the first is row {first['row_in_dataset']}: {first['detail']}"
        )
        remedy = f"mend them, or set evaluate.invalid_limit={len(invalid)}, which leaves them out and says so"
        raise SourceError(what, where, remedy)
