"""Near-duplicates among a run's own questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from medreason_dist.config import QuestionsConfig
from medreason_dist.questions.decontamination import nearness
from medreason_dist.questions.readers import Question
from medreason_dist.questions.similarity import Bands, Comparable, comparable, hash_text, join_words, shingle


def compare(question: Question) -> Comparable:
    """Returns what of a question is compared."""
    return comparable(question["question"], [option["text"] for option in question["options"]])


def place_of(question: Question) -> str:
    """Returns where a question stands: ``dataset:row``."""
    return f"{question['dataset']}:{question['row_in_dataset']}"


def find_duplicates(questions: Sequence[Question], config: QuestionsConfig) -> dict[str, str]:
    """Returns ``place → detail`` of those questions that are near-duplicates of one before them which stays.

    Of near-duplicates the first stays. Only questions with the same words of answer and context are compared: where
    answers differ, one of them is wrong or they ask for different things, and neither may silently win.

    Memory: 20 bytes a band and question, 420 a question at the default threshold; the texts of the few that share a
    band are looked at again.
    """
    settings, size = config.deduplication, config.decontamination.shingle_words
    if not settings.near_duplicate or not questions:
        return {}
    groups = _group(questions, Bands(settings.threshold), size)
    newest, before = np.full_like(groups, -1), np.full_like(groups, -1)
    details: dict[str, str] = {}
    for place in np.flatnonzero((groups >= 0).any(axis=1)):
        columns = np.flatnonzero(groups[place] >= 0)
        entries = [(groups[place, column], column) for column in columns]
        earlier = {other for entry in entries for other in _follow(newest[entry], before[:, entry[1]])}
        compared = compare(questions[place])
        for first in (questions[other] for other in sorted(earlier)):
            value = nearness(compared, compare(first), config.decontamination)
            if value >= settings.threshold:
                detail = f"near duplicate of {place_of(first)}, which is kept: same answer, Jaccard {value:.2f} of word"
                details[place_of(questions[place])] = f"{detail} {size}-grams; id {first['question_id']}"
                break
        else:
            for entry in entries:
                before[place, entry[1]], newest[entry] = newest[entry], place
    return details


def _group(questions: Sequence[Question], bands: Bands, size: int) -> NDArray[np.int32]:
    """Returns, of shape (questions, bands), the number of those with the same band, answer and context; -1 for one alone."""
    keys = np.empty((len(questions), bands.count), np.uint64)
    for place, question in enumerate(questions):
        answer = hash_text(f"{join_words(question['answer'])}\n{join_words(question['context'] or '')}")
        keys[place] = bands.keys(shingle(compare(question), size).whole, salt=answer)
    groups = np.empty(keys.shape, np.int32)
    for column, values in enumerate(keys.T):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        groups[:, column] = np.where(counts[inverse] > 1, inverse, -1)
    return groups


def _follow(newest: int, before: NDArray[np.int32]) -> Iterator[int]:
    """Yields the questions of a group that stayed, from the newest back: each names the one before it."""
    while newest >= 0:
        yield int(newest)
        newest = before[newest]
