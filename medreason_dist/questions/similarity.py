"""How alike two questions are: words of stem and options, their n-grams, overlap and Jaccard index, MinHash bands.

All of it is a function of the words alone: hashes are BLAKE2 and polynomials, the same in every process.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache, reduce
from typing import Final, NamedTuple

import numpy as np
from datasketch import MinHash
from numpy.typing import NDArray
from scipy.stats import binom

from medreason_dist.questions.readers import split_choices

Hashes = NDArray[np.uint64]

# A word is a run of letters and digits; in Chinese and Japanese, which put no spaces between words, a character.
WORD: Final = re.compile(r"[^\W_\u3040-\u30ff\u3400-\u9fff]+|[\u3040-\u30ff\u3400-\u9fff]")
DECISIONS: Final = frozenset({"yes", "no", "maybe"})

PERMUTATIONS: Final = 192
MISSED: Final = 0.02
"""Probability with which a pair that is exactly as alike as the threshold may share fewer than :data:`BANDS` bands."""
BANDS: Final = 3


class Comparable(NamedTuple):
    """What of a question is compared: the words of its stem and of each option, joined by spaces, options sorted."""

    stem: str
    options: tuple[str, ...]

    @property
    def length(self) -> int:
        """Words of the stem."""
        return self.stem.count(" ") + 1 if self.stem else 0


class Shingles(NamedTuple):
    """The n-grams of a question: those of its stem, and those of stem and options (the same array without options)."""

    stem: Hashes
    whole: Hashes


def comparable(question: str, options: Iterable[str]) -> Comparable:
    """Returns a question without case, punctuation, listed choices and the order of its options.

    PubMedQA's yes, no and maybe are left out: its questions all have them, its released rows do not list them.
    """
    offered = sorted(join_words(option) for option in options)
    return Comparable(join_words(split_choices(question)[0]), () if DECISIONS.issuperset(offered) else tuple(offered))


def join_words(text: str) -> str:
    """Returns the words of a text, case-folded and in Unicode form NFKC, joined by single spaces."""
    return " ".join(WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def shingle(question: Comparable, size: int) -> Shingles:
    """Returns the n-grams of ``size`` words of a question."""
    stem = ngrams([question.stem], size)
    return Shingles(stem, np.union1d(stem, ngrams(question.options, size)) if question.options else stem)


def ngrams(texts: Sequence[str], size: int) -> Hashes:
    """Returns the hashes, distinct and sorted, of all n-grams of ``size`` words within each of ``texts``.

    A text of fewer words is one n-gram by itself, so that short options count.
    """
    hashes: list[int] = []
    starts: list[int] = []
    for words in filter(None, map(str.split, texts)):
        first = len(hashes)
        hashes += map(_hash_word, words)
        hashes += [0] * (size - len(words))
        starts += range(first, len(hashes) - size + 1)
    places = len(hashes) - size + 1
    hashed = np.array(hashes, np.uint64)
    return np.unique(_fold(hashed[place : place + places] for place in range(size))[starts]) if starts else hashed


def overlap(one: Hashes, other: Hashes) -> float:
    """Returns the share of the smaller set that is in the other: the overlap (Szymkiewicz-Simpson) coefficient."""
    return _shared(one, other) / max(1, min(one.size, other.size))


def jaccard(one: Hashes, other: Hashes) -> float:
    """Returns the share of the union that is in both."""
    shared = _shared(one, other)
    return shared / max(1, one.size + other.size - shared)


class Bands:
    """MinHash signatures cut into bands of r values: sets as alike as ``threshold`` share :data:`BANDS` of them or more.

    A band is shared with probability s^r at Jaccard index s (Leskovec, Rajaraman & Ullman, Mining of Massive Datasets,
    3.4.2), the number of shared ones is binomial. r is the largest with which too few are at most in :data:`MISSED` of
    all cases (2 at 0.3). One band alone many unrelated case reports have in common, by the phrases of their kind.
    """

    def __init__(self, threshold: float) -> None:
        sizes = np.arange(1, PERMUTATIONS // BANDS + 1)
        missed = binom.cdf(BANDS - 1, PERMUTATIONS // sizes, threshold**sizes)
        self.size = int(max(sizes[missed <= MISSED], default=1))
        self.count = PERMUTATIONS // self.size
        self._minhash = MinHash(PERMUTATIONS, hashfunc=int)
        self._numbers = np.arange(1, self.count + 1, dtype=np.uint64)

    def keys(self, hashes: Hashes, salt: int = 0) -> Hashes:
        """Returns the keys of a set's bands, of shape (bands,). Sets of another ``salt`` share none with it."""
        self._minhash.clear()
        self._minhash.update_batch(hashes >> np.uint64(32))
        values = self._minhash.hashvalues[: self.count * self.size].reshape(self.count, self.size)
        return _fold([self._numbers + np.uint64(salt), *values.T.astype(np.uint64)])


def hash_text(text: str) -> int:
    """Returns the first 8 bytes of a text's BLAKE2b digest."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


_hash_word = lru_cache(1 << 18)(hash_text)


def _shared(one: Hashes, other: Hashes) -> int:
    return np.intersect1d(one, other, assume_unique=True).size


def _fold(columns: Iterable[Hashes]) -> Hashes:
    """Returns a polynomial in the columns, modulo 2**64, finished by MurmurHash3's mixer."""
    mixed = reduce(lambda total, column: total * np.uint64(0x9E3779B97F4A7C15) + column, columns)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(33))
