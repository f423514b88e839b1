"""Which questions are reviewed: a stratified sample of one published dataset, or of what two have in common.

A stratum is a source and whether its questions have options. Each gets a place while there are places; the others go by
Webster's divisor method (Sainte-Laguë's): in proportion to size, and to no stratum fewer in a larger sample, which largest
remainders do not promise (the Alabama paradox; Balinski & Young, Fair Representation, 1982).
Within a stratum the order is by a hash of the question's id. So a larger sample of the same datasets extends a smaller one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from medreason_dist.config import Config
from medreason_dist.errors import ConfigError, RunError
from medreason_dist.ids import derive_seed, fingerprint
from medreason_dist.publishing.published import PublishedDataset, open_dataset
from medreason_dist.reasoning.verification import find_sentences
from medreason_dist.schemas import RELEASED_OPTIONS
from medreason_dist.storage import Folder

COLUMNS: Final = "question_id dataset_name question context options answer answer_label reasoning".split()


class Method(StrEnum):
    """Where a trace comes from."""

    first = "first"
    """The dataset at ``review.dataset``."""
    second = "second"
    """The dataset at ``review.other``."""


class Stratum(NamedTuple):
    """Questions of one kind."""

    dataset: str
    has_options: bool


@dataclass(frozen=True)
class Origin:
    """The published dataset of a method."""

    uri: str
    fingerprint: str


@dataclass(frozen=True)
class SampledQuestion:
    """A question and, by method, the steps of its traces."""

    item: str
    """What it is called on pages and in answers: nothing that could be looked up elsewhere."""
    question_id: str
    dataset: str
    question: str
    context: str
    options: str
    """A line for each; empty for an open question."""
    answer: str
    traces: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Sample:
    """What is reviewed."""

    seed: int
    asked: int
    """``review.questions``: more than there are take all."""
    available: int
    origins: Mapping[str, Origin]
    """By method, of which there are one or two."""
    questions: Sequence[SampledQuestion]
    """In the order of their items, which is that of a hash."""

    @property
    def fingerprint(self) -> str:
        """What identifies the sample: all that it holds but where the datasets lie."""
        origins = {method: origin.fingerprint for method, origin in self.origins.items()}
        return fingerprint({**asdict(self), "origins": origins})


def draw_sample(config: Config) -> Sample:
    """Returns the sample that ``review`` describes; the same config and datasets give the same.

    Raises :class:`RunError` for a folder that is no dataset, for two without a common question or with the same traces;
    :class:`ConfigError` for a split that is named and not there.
    """
    review, seed = config.review, config.run.seed
    uris = [review.dataset] if review.other is None else [review.dataset, review.other]
    datasets = [open_dataset(Folder(uri, config.storage)) for uri in uris]
    tables = [_read_rows(dataset, review.splits) for dataset in datasets]
    common = _require_common(tables, uris)
    chosen = _choose(tables[0], common, review.questions, seed)
    rows = [{row["question_id"]: row for row in _take(table, chosen).to_pylist()} for table in tables]
    if len(rows) > 1 and all(rows[0][each]["reasoning"] == rows[1][each]["reasoning"] for each in chosen):
        what = f"the two datasets have the same traces: those of all {len(chosen)} questions are equal"
        raise RunError(what, ", ".join(uris), "give a dataset of another method as review.other")
    origins = {
        method.value: Origin(dataset.folder.uri, dataset.fingerprint)
        for method, dataset in zip(Method, datasets, strict=False)
    }
    digits = len(str(len(chosen)))
    questions = [
        _question(f"q{number:0{digits}}", [table[question_id] for table in rows])
        for number, question_id in enumerate(chosen, start=1)
    ]
    return Sample(seed, review.questions, len(common), origins, questions)


def allocate(sizes: Mapping[Stratum, int], places: int) -> dict[Stratum, int]:
    """Returns how many of ``places`` each stratum gets, none more than its size; all of them where there are enough."""
    given = dict.fromkeys(sizes, 0)
    for _ in range(min(places, sum(sizes.values()))):
        left = [stratum for stratum in sizes if given[stratum] < sizes[stratum]]
        given[max(left, key=lambda each: (not given[each], sizes[each] / (2 * given[each] + 1)))] += 1
    return given


def split_steps(reasoning: str) -> list[str]:
    """Returns the steps of a trace: its sentences, list items and lines, as grounding has them, and all of its text."""
    starts = [start for start, _ in find_sentences(reasoning)]
    # A step goes on to the start of the next: what closes a sentence after its stop, a quote or a bracket, is kept.
    return [reasoning[start:end].strip() for start, end in pairwise([*starts, len(reasoning)])]


def _read_rows(dataset: PublishedDataset, splits: Sequence[str]) -> pa.Table:
    if unknown := [split for split in splits if split not in dataset.splits]:
        what = f"config key 'review.splits' names '{unknown[0]}', which the dataset does not have"
        raise ConfigError(what, dataset.folder.uri, f"it has {', '.join(dataset.splits)}")
    return pa.concat_tables([dataset.read_split(split).select(COLUMNS) for split in splits or dataset.splits])


def _require_common(tables: Sequence[pa.Table], uris: Sequence[str]) -> set[str]:
    ids = [set(table["question_id"].to_pylist()) for table in tables]
    common = set.intersection(*ids)
    if not common:
        what = f"no question to review: the datasets have {', '.join(f'{len(each):,}' for each in ids)} questions"
        what += ", none in common" if len(ids) > 1 else ""
        raise RunError(
            what, ", ".join(uris), "name datasets that were made from the same questions, and splits with rows"
        )
    return common


def _choose(table: pa.Table, common: set[str], places: int, seed: int) -> list[str]:
    """Returns the ids of the chosen questions, in the order of a hash that no other choice depends on."""
    strata: dict[Stratum, list[str]] = defaultdict(list)
    for question_id, dataset, options in zip(
        *(table[name].to_pylist() for name in ("question_id", "dataset_name", "options")), strict=True
    ):
        if question_id in common:
            strata[Stratum(dataset, bool(options))].append(question_id)
    given = allocate({stratum: len(strata[stratum]) for stratum in sorted(strata)}, places)
    ranked = {
        stratum: sorted(ids, key=lambda each: derive_seed("review", seed, each)) for stratum, ids in strata.items()
    }
    chosen = [question_id for stratum, ids in ranked.items() for question_id in ids[: given[stratum]]]
    return sorted(chosen, key=lambda each: derive_seed("item", seed, each))


def _take(table: pa.Table, ids: Sequence[str]) -> pa.Table:
    return table.filter(pc.is_in(table["question_id"], pa.array(ids, pa.string())))


def _question(item: str, rows: Sequence[Mapping[str, Any]]) -> SampledQuestion:
    row = rows[0]
    label = row["answer_label"]
    return SampledQuestion(
        item=item,
        question_id=row["question_id"],
        dataset=row["dataset_name"],
        question=row["question"],
        context=row["context"] or "",
        options=(row["options"] or "").removeprefix(RELEASED_OPTIONS),
        answer=f"{label}. {row['answer']}" if label else row["answer"],
        traces={method.value: split_steps(each["reasoning"] or "") for method, each in zip(Method, rows, strict=False)},
    )
