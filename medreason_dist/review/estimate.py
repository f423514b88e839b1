"""Means over judgements with intervals, and the sign test.

Several reviewers judge the same question, so that their judgements are not independent: questions are resampled, each with
all its judgements (a cluster bootstrap; Davison & Hinkley, Bootstrap Methods and their Application, 1997, 3.8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap

from medreason_dist.ids import derive_seed

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean over judgements, and its interval: None where one question cannot have one."""

    value: float
    low: float | None
    high: float | None
    judgements: int
    questions: int


@dataclass(frozen=True)
class SignTest:
    """How many questions have more judgements for the first method than for the second, and the other way round."""

    first: int
    second: int
    even: int
    p_value: float | None
    """Two-sided, of the binomial distribution over the questions that are not even; None where all are."""


def estimate_mean(values: NDArray[np.float64], name: str) -> Estimate | None:
    """Returns the mean of ``values``, of shape (reviewers, questions), nan where one did not judge; None for none.

    The interval has the 2.5 and 97.5 percentiles of :data:`RESAMPLES` resamples of questions, seeded by ``name``.
    """
    counts = np.isfinite(values).sum(axis=0)
    sums = np.nansum(values, axis=0)[counts > 0]
    counts = counts[counts > 0]
    if not len(counts):
        return None
    value, judgements = float(sums.sum() / counts.sum()), int(counts.sum())
    if len(counts) == 1:
        return Estimate(value, None, None, judgements, 1)
    interval = bootstrap(
        (sums, counts),
        _ratio,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=derive_seed("bootstrap", name),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), judgements, len(counts))


def compare_signs(values: NDArray[np.float64]) -> SignTest:
    """Returns the sign test (Dixon & Mood 1946) over questions by their majority.

    ``values``, of shape (reviewers, questions), are 1 for the first method, -1 for the second, 0 for neither, nan where
    one did not judge.
    """
    majority = np.sign(np.nansum(values, axis=0)[np.isfinite(values).any(axis=0)])
    first, second = int((majority > 0).sum()), int((majority < 0).sum())
    p_value = float(binomtest(first, first + second).pvalue) if first + second else None
    return SignTest(first, second, int((majority == 0).sum()), p_value)


def _ratio(sums: NDArray[Any], counts: NDArray[Any], axis: int) -> Any:
    return sums.sum(axis=axis) / counts.sum(axis=axis)
