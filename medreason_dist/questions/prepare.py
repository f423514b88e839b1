"""From the configured sources to a run's questions: read, decontaminate, deduplicate, limit, shard.

Everything is decided by content: the same rows give the same questions, ids and shards in whatever order sources are
listed, and byte-identical files for the same input files. docs/questions.md says what becomes a question.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import pyarrow as pa

from medreason_dist.config import Config, QuestionsConfig
from medreason_dist.errors import ConfigError, ReconcileError
from medreason_dist.questions.decontamination import BenchmarkIndex, Method, read_benchmarks
from medreason_dist.questions.duplicates import compare, find_duplicates, place_of
from medreason_dist.questions.files import Malformed, digest_files
from medreason_dist.questions.readers import Invalid, Question, SourceRow, encodable, read_source
from medreason_dist.schemas import DROPPED, QUESTIONS, Dataset, DropReason, LeftOut
from medreason_dist.storage import Folder

DATASETS = [dataset.value for dataset in Dataset]


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
    """The questions of a run (planned ones first, then in question_id order), the dropped rows, every source's counts,
    and what questions were compared with (:meth:`BenchmarkIndex.describe`, and ``files``: by benchmark the SHA-256 of
    each of its files; empty where with nothing)."""

    questions: list[Question]
    dropped: list[Dropped]
    sources: dict[str, Counts]
    decontamination: dict[str, Any]


@dataclass(frozen=True)
class SourceRows:
    """The rows of all sources of a config, by :class:`Dataset` order, read from the files whenever they are iterated."""

    config: Config

    def __iter__(self) -> Iterator[SourceRow]:
        sources, storage = self.config.questions.sources, self.config.storage
        for dataset in Dataset:
            if dataset in sources:
                yield from read_source(dataset, sources[dataset], storage)


def read_questions(config: Config, planned: Collection[str] = ()) -> Selection:
    """Reads all sources and benchmarks and selects the run's questions; ``planned`` are the ids of those it has already.

    Raises :class:`ConfigError` without sources, :class:`SourceError` for a file that cannot be used,
    :class:`ReconcileError` for counts that do not add up.
    """
    if not config.questions.sources:
        raise ConfigError("there are no questions", "questions.sources", "set questions.sources.medqa=FILE or another")
    benchmarks = read_benchmarks(config.questions.decontaminate, config.storage)
    index = BenchmarkIndex(benchmarks, config.questions.decontamination)
    selection = select_questions(SourceRows(config), index, config.questions, config.run.limit, planned)
    files = {
        benchmark: list(digest_files([(benchmark, uri)], config.storage).values())
        for benchmark, uri in config.questions.decontaminate.items()
    }
    compared = selection.decontamination
    return replace(selection, decontamination={**compared, "files": files} if compared else {})


def digest_inputs(config: Config) -> dict[str, str]:
    """Returns the SHA-256 of every file of questions and benchmarks; raises as :func:`read_questions` does."""
    files = itertools.chain(config.questions.sources.items(), config.questions.decontaminate.items())
    return digest_files(files, config.storage)


def write_questions(
    run: Folder,
    questions: Sequence[Question],
    dropped: Sequence[Mapping[str, Any]],
    planned: Mapping[str, int],
    size: int,
) -> dict[str, int]:
    """Writes the questions that are not ``planned`` (shard → questions) as further shards, and all dropped rows.

    Returns all shards with their numbers of questions. Shards that are in neither are deleted.
    """
    new = plan_shards(questions[sum(planned.values()) :], size, first=len(planned))
    folder = run.child("questions")
    for name, rows in new.items():
        folder.write_table(name, pa.Table.from_pylist(rows, schema=QUESTIONS))
    folder.delete_all(name for name in folder.names(".parquet") if name not in {**planned, **new})
    run.child("dropped").write_table("part=00000.parquet", pa.Table.from_pylist(dropped, schema=DROPPED))
    return {**planned, **{name: len(rows) for name, rows in new.items()}}


def select_questions(
    rows: Iterable[SourceRow],
    index: BenchmarkIndex,
    config: QuestionsConfig,
    limit: int | None = None,
    planned: Collection[str] = (),
) -> Selection:
    """Drops invalid rows, contaminated questions and then duplicates; takes the first ``limit`` in question_id order.

    Those whose ids are ``planned`` come before all others, so that more rows or a larger limit add to them, and nothing
    new takes the place of one. ``rows`` come by :class:`Dataset` order, then by number: of equal questions the first
    stays. They are iterated a second time where there are near-duplicates, whose rows nobody kept. Raises
    :class:`ReconcileError` where counts do not add up.
    """
    kept: dict[str, Question] = {}
    dropped: list[Dropped] = []
    rows_read: Counter[str] = Counter()
    found_by: Counter[Method] = Counter()
    for row in rows:
        rows_read[row.dataset.value] += 1
        if isinstance(row.parsed, Invalid):
            dropped.append(drop_row(row.dataset.value, row, DropReason.invalid_input, row.parsed.detail))
        elif (match := index.find(compare(row.parsed))) is not None:
            dropped.append(drop_row(row.dataset.value, row, DropReason.contaminated, match.detail))
            found_by[match.method] += 1
        elif (first := kept.setdefault(row.parsed["question_id"], row.parsed)) is not row.parsed:
            detail = f"same content as {place_of(first)}, the first that has it; id {first['question_id']}"
            dropped.append(drop_row(row.dataset.value, row, DropReason.duplicate, detail))
    ordered = sorted(
        kept.values(), key=lambda question: (question["question_id"] not in planned, question["question_id"])
    )
    near = find_duplicates(ordered, config)
    dropped += _drop_near_duplicates(rows, near)
    dropped.sort(key=lambda record: (DATASETS.index(record["dataset"]), record["row_in_dataset"]))
    ordered = [question for question in ordered if place_of(question) not in near]
    end = len(ordered) if limit is None else limit
    sources = _count_sources(rows_read, ordered[:end], dropped, ordered[end:])
    for dataset, counts in sources.items():
        require_reconciled(dataset, counts)
    return Selection(ordered[:end], dropped, sources, index.describe(found_by))


def _drop_near_duplicates(rows: Iterable[SourceRow], near: Mapping[str, str]) -> Iterator[Dropped]:
    for row in rows if near else ():
        detail = near.get(f"{row.dataset.value}:{row.number}")
        if detail is not None:
            yield drop_row(row.dataset.value, row, DropReason.near_duplicate, detail)


def drop_row(dataset: str, row: SourceRow, reason: DropReason | LeftOut, detail: str) -> Dropped:
    """Returns a row that is not asked, as read, with its reason."""
    raw = row.row
    text = raw.text if isinstance(raw, Malformed) else json.dumps(raw, ensure_ascii=False, default=str)
    return Dropped(
        dataset=dataset,
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
