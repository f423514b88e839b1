"""Krippendorff's alpha (Content Analysis, 2004, chapter 11): 1 where reviewers agree, 0 where they agree as by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import krippendorff
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Agreement:
    """Alpha, and what it rests on."""

    alpha: float | None
    units: int
    """What two reviewers or more have judged."""
    reviewers: int
    """Those who judged any of these."""
    reason: str | None
    """Why there is no alpha."""


def measure_agreement(values: NDArray[np.float64], level: Literal["nominal", "ordinal"]) -> Agreement:
    """Returns the agreement on ``values``, of shape (reviewers, units), nan where one did not judge."""
    judged = np.isfinite(values)
    shared = judged.sum(axis=0) > 1
    values, judged = values[:, shared], judged[:, shared]
    units, reviewers = int(shared.sum()), int(judged.any(axis=1).sum())
    if not units:
        return Agreement(None, 0, 0, "no two reviewers judged the same")
    if len(np.unique(values[judged])) == 1:
        # What is expected by chance is then no disagreement either: alpha would be 0 / 0.
        return Agreement(None, units, reviewers, "every judgement is the same, which leaves nothing to disagree on")
    return Agreement(krippendorff.alpha(values, level_of_measurement=level), units, reviewers, None)
