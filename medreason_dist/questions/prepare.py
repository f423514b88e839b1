"""From the configured sources to a run's questions: read, decontaminate, deduplicate, limit, shard.

Everything is decided by content: the same rows give the same questions, ids and shards in whatever order sources are
listed, and byte-identical files for the same input files.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import pyarrow as pa

from medreason_dist.config import Config, StorageConfig
from medreason_dist.errors import ConfigError, ReconcileError, SourceError
from medreason_dist.ids import normalize_text
from medreason_dist.questions.files import Malformed, list_files, read_rows
from medreason_dist.questions.readers import Invalid, Question, SourceRow, encodable, read_source, split_choices
from medreason_dist.schemas import DROPPED, QUESTIONS, Dataset, DropReason
from medreason_dist.storage import Folder

BENCHMARK_FIELDS = ("question", "Question", "problem_text", "QUESTION")


class Dropped(TypedDict):
    """A row of :data:`medreason_dist.schemas.DROPPED`."""

    dataset: str
    row_in_dataset: int
    drop_reason: str
    detail: str
    row: str


@dataclass(frozen=True)
class Counts:
    """What became of the rows of one source, or of all."""

    rows_read: int
    dropped: int
    dropped_by_reason: dict[str, int]
    beyond_limit: int
    questions: int


@dataclass(frozen=True)
class Selection:
    """The questions of a run (planned ones first, then in question_id order), the dropped rows, every source's counts."""

    questions: list[Question]
    dropped: list[Dropped]
    sources: dict[str, Counts]


def read_questions(config: Config, planned: Collection[str] = ()) -> Selection:
    """Reads all sources and benchmarks and selects the run's questions; ``planned`` are the ids of those it has already.

    Raises :class:`ConfigError` without sources, :class:`SourceError` for a file that cannot be used,
    :class:`ReconcileError` for counts that do not add up.
    """
    sources, storage = config.questions.sources, config.storage
    if not sources:
        raise ConfigError("there are no questions", "questions.sources", "set questions.sources.medqa=FILE or another")
    benchmarks = read_benchmarks(config.questions.decontaminate, storage)
    rows = (row for dataset in Dataset if dataset in sources for row in read_source(dataset, sources[dataset], storage))
    return select_questions(rows, benchmarks, config.run.limit, planned)


def digest_inputs(config: Config) -> dict[str, str]:
    """Returns the SHA-256 of every file of questions and benchmarks; raises as :func:`read_questions` does."""
    files = itertools.chain(config.questions.sources.items(), config.questions.decontaminate.items())
    return {
        f"{name}: {file}": hashlib.sha256(file.folder.read(file.name)).hexdigest()
        for name, uri in files
        for file in list_files(uri, config.storage)
    }


def write_questions(run: Folder, selection: Selection, planned: Mapping[str, int], size: int) -> dict[str, int]:
    """Writes the questions that are not ``planned`` (shard → questions) as further shards, and all dropped rows.

    Returns all shards with their numbers of questions. Shards that are in neither are deleted.
    """
    new = plan_shards(selection.questions[sum(planned.values()) :], size, first=len(planned))
    folder = run.child("questions")
    for name, questions in new.items():
        folder.write_table(name, pa.Table.from_pylist(questions, schema=QUESTIONS))
    folder.delete_all(name for name in folder.names(".parquet") if name not in {**planned, **new})
    run.child("dropped").write_table("part=00000.parquet", pa.Table.from_pylist(selection.dropped, schema=DROPPED))
    return {**planned, **{name: len(questions) for name, questions in new.items()}}


def read_benchmarks(files: Mapping[str, str], storage: StorageConfig) -> dict[str, str]:
    """Returns ``comparison text → benchmark:row`` of all benchmark files, which are files as sources are.

    Raises :class:`SourceError` also for a single row without a question: to pass over it might let it through.
    """
    rows: dict[str, str] = {}
    for benchmark, uri in sorted(files.items()):
        number = 0
        for file in list_files(uri, storage):
            for row in read_rows(file):
                text = _benchmark_text(row)
                if text is None:
                    raise SourceError(
                        f"row {number} has no question in any of {', '.join(BENCHMARK_FIELDS)}",
                        f"questions.decontaminate.{benchmark}: {file}",
                        "mend or remove the row",
                    )
                rows.setdefault(comparison_text(text), f"{benchmark}:{number}")
                number += 1
    return rows


def comparison_text(question: str) -> str:
    """Returns what two questions must share to count as the same: normalised, case-folded, without listed options."""
    return normalize_text(split_choices(question)[0]).casefold()


def select_questions(
    rows: Iterable[SourceRow], benchmarks: Mapping[str, str], limit: int | None, planned: Collection[str] = ()
) -> Selection:
    """Drops invalid rows, contaminated questions and then duplicates; takes the first ``limit`` in question_id order.

    Those whose ids are ``planned`` come before all others, so that more rows or a larger limit add to them.
    ``rows`` come by :class:`Dataset` order, then by number: of equal questions the first stays. ``benchmarks`` maps
    :func:`comparison_text` to the benchmark's row. Raises :class:`ReconcileError` where counts do not add up.
    """
    kept: dict[str, Question] = {}
    dropped: list[Dropped] = []
    rows_read: Counter[str] = Counter()
    for row in rows:
        rows_read[row.dataset.value] += 1
        fault = _find_fault(row.parsed, benchmarks, kept)
        if fault is not None:
            dropped.append(_drop(row, *fault))
        elif not isinstance(row.parsed, Invalid):
            kept[row.parsed["question_id"]] = row.parsed
    ordered = sorted(
        kept.values(), key=lambda question: (question["question_id"] not in planned, question["question_id"])
    )
    end = len(ordered) if limit is None else limit
    sources = _count_sources(rows_read, ordered[:end], dropped, ordered[end:])
    for dataset, counts in sources.items():
        require_reconciled(dataset, counts)
    return Selection(ordered[:end], dropped, sources)


def _find_fault(
    parsed: Question | Invalid, benchmarks: Mapping[str, str], kept: Mapping[str, Question]
) -> tuple[DropReason, str] | None:
    """Returns why a row does not become a question, with its detail, or None for one that does."""
    if isinstance(parsed, Invalid):
        return DropReason.invalid_input, parsed.detail
    benchmark_row = benchmarks.get(comparison_text(parsed["question"]))
    if benchmark_row is not None:
        return DropReason.contaminated, f"same question as {benchmark_row}"
    first = kept.get(parsed["question_id"])
    if first is not None:
        where = f"{first['dataset']}:{first['row_in_dataset']}"
        return DropReason.duplicate, f"same content as {where}, which is kept; id {first['question_id']}"
    return None


def _drop(row: SourceRow, reason: DropReason, detail: str) -> Dropped:
    raw = row.row
    text = raw.text if isinstance(raw, Malformed) else json.dumps(raw, ensure_ascii=False, default=str)
    return Dropped(
        dataset=row.dataset.value,
        row_in_dataset=row.number,
        drop_reason=reason.value,
        detail=detail,
        row=encodable(text),
    )


def plan_shards(questions: Sequence[Question], size: int, first: int = 0) -> dict[str, Sequence[Question]]:
    """Returns the files ``shard=<n>.parquet``, n from ``first``, with ``size`` questions each, the last with the rest."""
    return {
        f"shard={first + start // size:05d}.parquet": questions[start : start + size]
        for start in range(0, len(questions), size)
    }


def add_counts(sources: Iterable[Counts]) -> Counts:
    """Returns the sums over sources."""
    sources = list(sources)
    reasons: Counter[str] = Counter()
    for counts in sources:
        reasons.update(counts.dropped_by_reason)
    return Counts(
        rows_read=sum(counts.rows_read for counts in sources),
        dropped=sum(counts.dropped for counts in sources),
        dropped_by_reason=dict(sorted(reasons.items())),
        beyond_limit=sum(counts.beyond_limit for counts in sources),
        questions=sum(counts.questions for counts in sources),
    )


def require_reconciled(dataset: str, counts: Counts) -> None:
    """Raises :class:`ReconcileError` unless rows read = dropped + beyond the limit + questions."""
    accounted = counts.dropped + counts.beyond_limit + counts.questions
    if counts.rows_read != accounted or counts.dropped != sum(counts.dropped_by_reason.values()):
        raise ReconcileError(f"{dataset}: {counts.rows_read} rows read, {accounted} accounted for: {counts}")


def _benchmark_text(row: Any) -> str | None:
    found = (row.get(field) for field in BENCHMARK_FIELDS) if isinstance(row, dict) else iter(())
    return next((text for text in found if isinstance(text, str) and text.strip()), None)


def _count_sources(
    rows_read: Mapping[str, int], taken: Sequence[Question], dropped: Sequence[Dropped], beyond: Sequence[Question]
) -> dict[str, Counts]:
    questions, beyond_limit = (Counter(question["dataset"] for question in part) for part in (taken, beyond))
    reasons: dict[str, Counter[str]] = {dataset: Counter() for dataset in rows_read}
    for record in dropped:
        reasons[record["dataset"]][record["drop_reason"]] += 1
    return {
        dataset: Counts(
            rows_read=count,
            dropped=reasons[dataset].total(),
            dropped_by_reason=dict(sorted(reasons[dataset].items())),
            beyond_limit=beyond_limit[dataset],
            questions=questions[dataset],
        )
        for dataset, count in rows_read.items()
    }
