"""Words, n-grams, measures and MinHash bands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medreason_dist.questions.similarity import (
    BANDS,
    MISSED,
    Bands,
    Comparable,
    comparable,
    jaccard,
    join_words,
    ngrams,
    overlap,
    shingle,
)

PINNED_NGRAMS = [8407941805020334841, 13673398692100987780]
PINNED_KEYS = [5029930473284827122, 4937075173535123823]
WORDS = st.lists(st.sampled_from("abcde"), max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A 45-year-old man's CRP: 7.9\u00a0mg/dL!", "a 45 year old man s crp 7 9 mg dl"),
        ("caf\u0065\u0301 \u2167 \u00b5g STRASSE stra\u00dfe", "caf\u00e9 viii \u03bcg strasse strasse"),
        ("患者男,45歳 X線", "患 者 男 45 歳 x 線"),
        ("_?!\ud800", ""),
    ],
)
def test_words(text: str, words: str) -> None:
    assert join_words(text) == words


def test_comparison_ignores_case_punctuation_listed_choices_and_order_of_options() -> None:
    one = comparable("What is  Gout?\nAnswer Choices: (A) x (B) y", ["Uric acid.", "IgA"])
    assert one == comparable("what is gout", ["iga", "URIC ACID"]) == Comparable("what is gout", ("iga", "uric acid"))
    assert comparable("Is it?", ["yes", "no", "maybe"]) == comparable("Is it?", []) == Comparable("is it", ())


@given(WORDS, st.integers(1, 6))
def test_ngrams_are_those_of_the_words(text: str, size: int) -> None:
    words = text.split()
    wanted = {tuple(words[start : start + size]) for start in range(max(1, len(words) - size + 1))} - {()}
    found = ngrams([text], size)
    assert found.size == len(wanted)
    assert np.all(found[1:] > found[:-1])
    assert np.array_equal(found, np.union1d(found, ngrams([" ".join(gram) for gram in wanted], size)))


def test_ngrams_do_not_span_options() -> None:
    assert ngrams(["a b", "c d"], 3).size == 2
    assert np.array_equal(ngrams(["a b", "c d"], 3), np.union1d(ngrams(["a b"], 3), ngrams(["c d"], 3)))
    assert ngrams([], 3).size == ngrams([""], 3).size == 0
    whole = shingle(Comparable("a b c d", ("e", "f g")), 3)
    assert (whole.stem.size, whole.whole.size) == (2, 4)


def test_hashes_are_the_same_in_every_process() -> None:
    assert ngrams(["tender enlargement of both breasts"], 4).tolist() == PINNED_NGRAMS
    assert Bands(0.5).keys(ngrams(["tender enlargement of both breasts"], 4))[:2].tolist() == PINNED_KEYS


@given(WORDS, WORDS)
def test_measures(one: str, other: str) -> None:
    left, right = set(one.split()), set(other.split())
    hashes = ngrams([one], 1), ngrams([other], 1)
    assert jaccard(*hashes) == len(left & right) / max(1, len(left | right))
    assert overlap(*hashes) == len(left & right) / max(1, min(len(left), len(right)))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
def test_sets_at_the_threshold_share_enough_bands(threshold: float) -> None:
    rng = np.random.default_rng(0)
    bands = Bands(threshold)
    found = []
    for _ in range(300):
        both = round(120 * threshold)
        drawn = rng.integers(2**64, size=120, dtype=np.uint64)
        half = both + (120 - both) // 2
        one, other = np.sort(drawn[:half]), np.sort(np.concatenate([drawn[:both], drawn[half:]]))
        assert jaccard(one, other) == pytest.approx(threshold, abs=0.01)
        found.append(np.sum(bands.keys(one) == bands.keys(other)) >= BANDS)
    assert np.mean(found) >= 1 - 2 * MISSED
    unlike = [bands.keys(rng.integers(2**64, size=100, dtype=np.uint64)) for _ in range(50)]
    assert sum(np.sum(one == other) >= BANDS for one in unlike for other in unlike if one is not other) == 0
    assert not np.any(bands.keys(drawn) == bands.keys(drawn, salt=1))
