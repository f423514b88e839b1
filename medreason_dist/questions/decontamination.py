"""Which questions stand in a benchmark: read its rows, index them once, look questions up one by one.

Three methods, the cheapest first: the same words, n-gram overlap, near-duplicates. docs/questions.md has their
definitions, why they are as they are, and what they find and miss.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medreason_dist.config import DecontaminationConfig, StorageConfig
from medreason_dist.errors import SourceError
from medreason_dist.questions.files import list_files, read_rows
from medreason_dist.questions.similarity import (
    BANDS,
    PERMUTATIONS,
    Bands,
    Comparable,
    Hashes,
    Shingles,
    comparable,
    jaccard,
    ngrams,
    overlap,
    shingle,
)

QUESTION_FIELDS = ("question", "Question", "problem_text", "QUESTION")
OPTION_FIELDS = ("options", "choices")
ROUNDING = 1e-9


class Method(StrEnum):
    """How a question was found in a benchmark; each is also the config key that switches it off."""

    exact = "exact"
    ngram_overlap = "ngram_overlap"
    near_duplicate = "near_duplicate"


class BenchmarkRow(NamedTuple):
    """A benchmark's question: the benchmark, the row's number in it from 0, what is compared."""

    benchmark: str
    number: int
    question: Comparable

    def __str__(self) -> str:
        return f"{self.benchmark}:{self.number}"


class Match(NamedTuple):
    """A benchmark row that a question matches, by which method, and the measured value as a sentence."""

    method: Method
    row: BenchmarkRow
    detail: str


def read_benchmarks(files: Mapping[str, str], storage: StorageConfig) -> Iterator[BenchmarkRow]:
    """Yields the rows of all benchmark files, which are files as sources are, in name order of the benchmarks.

    Raises :class:`SourceError` also for a single row without a question: to pass over it might let it through.
    """
    for benchmark, uri in sorted(files.items()):
        number = 0
        for file in list_files(uri, storage):
            for row in read_rows(file):
                question = _parse_benchmark_row(row)
                if not question.stem:
                    raise SourceError(
                        f"row {number} has no question in any of {', '.join(QUESTION_FIELDS)}",
                        f"questions.decontaminate.{benchmark}: {file}",
                        "mend or remove the row",
                    )
                yield BenchmarkRow(benchmark, number, question)
                number += 1


class BenchmarkIndex:
    """The benchmarks' rows by their words, n-grams and MinHash bands: 17 kB a row at its peak, whatever passes by."""

    def __init__(self, rows: Iterable[BenchmarkRow], config: DecontaminationConfig) -> None:
        self.config = config
        self.rows = list(rows)
        self._lengths = np.array([row.question.length for row in self.rows])
        self._by_stem: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(self.rows):
            self._by_stem[row.question.stem].append(place)
        if config.ngram_overlap:
            self._stems = [self._long_ngrams(row.question) for row in self.rows]
            self._sizes = np.array([stem.size for stem in self._stems], np.int64)
            self._smallest = int(self._sizes[self._sizes > 0].min(initial=np.iinfo(np.int64).max))
            self._by_ngram = _Postings(self._stems)
        if config.near_duplicate:
            self._bands = Bands(min(config.near_duplicate_threshold, config.near_duplicate_long_threshold))
            shingles = [shingle(row.question, config.shingle_words) for row in self.rows]
            self._shingles = _Sets([own.stem for own in shingles])
            self._by_band = _Postings(
                [self._keys(row.question, own) for row, own in zip(self.rows, shingles, strict=True)]
            )

    def find(self, question: Comparable) -> Match | None:
        """Returns the benchmark row that a question matches, or None.

        Of several rows by one method it is the one with the highest value, and of those the first.
        """
        if not self.rows:
            return None
        return (
            (self._find_exact(question) if self.config.exact else None)
            or (self._find_overlap(question) if self.config.ngram_overlap else None)
            or (self._find_near(question) if self.config.near_duplicate else None)
        )

    def describe(self, dropped: Mapping[Method, int]) -> dict[str, Any]:
        """Returns what was compared, how, and what it dropped, for the run's record; empty without benchmarks."""
        if not self.rows:
            return {}
        settings = asdict(self.config)
        methods = [method for method in Method if settings[method]]
        return {
            "benchmarks": dict(Counter(row.benchmark for row in self.rows)),
            "methods": [method.value for method in methods],
            "thresholds": {key: value for key, value in settings.items() if key not in list(Method)},
            "dropped_by_method": {method.value: dropped.get(method, 0) for method in methods},
        }

    def _find_exact(self, question: Comparable) -> Match | None:
        for place in self._by_stem.get(question.stem, ()):
            other = self.rows[place].question
            # Any question may have a short stem («Which of the following is true?»): its options tell.
            told_apart = question.options and other.options and question.options != other.options
            if not told_apart or question.length >= self.config.min_words:
                return Match(Method.exact, self.rows[place], f"same question as {self.rows[place]}")
        return None

    def _find_overlap(self, question: Comparable) -> Match | None:
        config, stem = self.config, self._long_ngrams(question)
        if not stem.size:
            return None
        threshold = config.ngram_threshold - ROUNDING
        left, right = self._by_ngram.ranges(stem)
        # A row that reaches the threshold shares k n-grams or more; of n that stand in any row one of the n - k + 1
        # rarest is then among them. The others («which of the following is the») stand in nearly every row.
        fewest = math.ceil(threshold * min(stem.size, self._smallest))
        if left.size < fewest:
            return None
        rarest = np.argsort(right - left, kind="stable")[: left.size - fewest + 1]
        found = self._by_ngram.places(left[rarest], right[rarest])
        small_enough = threshold * np.minimum(stem.size, self._sizes[found]) <= left.size
        best = _best((overlap(stem, self._stems[place]), place) for place in found[small_enough])
        if best is None or best[0] < threshold:
            return None
        row = self.rows[best[1]]
        return Match(
            Method.ngram_overlap,
            row,
            f"n-gram overlap with {row}: {best[0]:.2f} of the shorter one's word {config.ngram_words}-grams",
        )

    def _find_near(self, question: Comparable) -> Match | None:
        config = self.config
        own = shingle(question, config.shingle_words)
        found = self._by_band.places(*self._by_band.ranges(self._keys(question, own)), least=BANDS)
        long = np.minimum(question.length, self._lengths[found]) >= config.long_words
        thresholds = np.where(long, config.near_duplicate_long_threshold, config.near_duplicate_threshold)
        alike = self._shingles.jaccard(own.stem, found) >= thresholds
        near = [(nearness(question, self.rows[place].question, config), place) for place in found[alike]]
        best = _best(pair for pair, least in zip(near, thresholds[alike], strict=True) if pair[0] >= least)
        if best is None:
            return None
        row = self.rows[best[1]]
        detail = f"near duplicate of {row}: Jaccard {best[0]:.2f} of word {config.shingle_words}-grams"
        return Match(Method.near_duplicate, row, detail)

    def _long_ngrams(self, question: Comparable) -> Hashes:
        """Returns a stem's n-grams, none of a stem that is too short for its share to mean something."""
        long = question.length >= self.config.long_words
        return ngrams([question.stem] if long else [], self.config.ngram_words)

    def _keys(self, question: Comparable, own: Shingles) -> Hashes:
        # With its options it is looked up by those that have some, its stem alone by those that have none.
        whole = [self._bands.keys(own.whole, salt=PERMUTATIONS)] if question.options else []
        stem = [self._bands.keys(own.stem)] if question.length >= self.config.min_words else []
        return _concatenate(whole + stem)


def nearness(one: Comparable, other: Comparable, config: DecontaminationConfig) -> float:
    """Returns the Jaccard index of two stems' n-grams or, of short stems with options, that of the options' words if less.

    So neither a stem that any question may have nor the same options make two questions alike. Where one of them has no
    options that could tell, stems of fewer than ``min_words`` words are not compared: 0.
    """
    shorter, both_offer = min(one.length, other.length), bool(one.options and other.options)
    if one == other:
        return 1.0
    if not both_offer and shorter < config.min_words:
        return 0.0
    of_stems = jaccard(ngrams([one.stem], config.shingle_words), ngrams([other.stem], config.shingle_words))
    if both_offer and shorter < config.long_words:
        return min(of_stems, jaccard(ngrams(one.options, 1), ngrams(other.options, 1)))
    return of_stems


class _Sets:
    """The n-grams of many texts, each as a number, to be compared with those of one text at once."""

    def __init__(self, sets: Sequence[Hashes]) -> None:
        self._sizes = np.array([each.size for each in sets], np.int64)
        self._known, numbers = np.unique(_concatenate(sets), return_inverse=True)
        self._numbers = np.split(numbers.astype(np.int32), np.cumsum(self._sizes[:-1]))
        self._marks = np.zeros(self._known.size, np.bool_)

    def jaccard(self, own: Hashes, places: NDArray[np.int32]) -> NDArray[np.float64]:
        """Returns the Jaccard index of ``own`` with the sets at ``places``, of the same shape."""
        marked = _find(self._known, own)
        self._marks[marked] = True
        shared = np.array([np.count_nonzero(self._marks[self._numbers[place]]) for place in places], np.int64)
        self._marks[marked] = False
        index: NDArray[np.float64] = shared / np.maximum(1, own.size + self._sizes[places] - shared)
        return index


class _Postings:
    """From a hash to the places whose arrays hold it."""

    def __init__(self, arrays: Sequence[Hashes]) -> None:
        hashes = _concatenate(arrays)
        places = np.repeat(np.arange(len(arrays), dtype=np.int32), [array.size for array in arrays])
        order = np.argsort(hashes, kind="stable")
        self._places = places[order]
        self._known, counts = np.unique(hashes, return_counts=True)
        self._ends = np.concatenate([[0], np.cumsum(counts)])

    def ranges(self, hashes: Hashes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns, for each of ``hashes`` that any array holds, where its places begin and end."""
        found = _find(self._known, hashes)
        return self._ends[found], self._ends[found + 1]

    def places(self, left: NDArray[np.int64], right: NDArray[np.int64], least: int = 1) -> NDArray[np.int32]:
        """Returns, in order, the places that stand in some ranges ``least`` times or more."""
        parts = [self._places[start:end] for start, end in zip(left, right, strict=True)]
        found, counts = np.unique(np.concatenate([np.empty(0, np.int32), *parts]), return_counts=True)
        return found[counts >= least]


def _concatenate(arrays: Sequence[Hashes]) -> Hashes:
    return np.concatenate([np.empty(0, np.uint64), *arrays])


def _find(known: Hashes, hashes: Hashes) -> NDArray[np.int64]:
    """Returns where those of ``hashes`` stand that are among ``known``, which is sorted."""
    places = np.searchsorted(known, hashes)
    return places[np.take(known, places, mode="clip") == hashes] if known.size else places[:0]


def _best(values: Iterable[tuple[float, int]]) -> tuple[float, int] | None:
    return max(values, key=lambda pair: (pair[0], -pair[1]), default=None)


def _parse_benchmark_row(row: Any) -> Comparable:
    """Returns a row's question, with an empty stem where there is none; options in no known form count as none."""
    if not isinstance(row, dict):
        return Comparable("", ())
    found = (row.get(field) for field in QUESTION_FIELDS)
    question = next((text for text in found if isinstance(text, str) and text.strip()), "")
    options = next((row[field] for field in OPTION_FIELDS if row.get(field)), None)
    if options is None:
        options = [row.get(f"op{letter}") for letter in "abcd"]
    offered = list(options.values()) if isinstance(options, dict) else options
    listed = isinstance(offered, list) and all(isinstance(option, str) for option in offered)
    return comparable(question, offered if listed else ())
