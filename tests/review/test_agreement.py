"""Alpha against its formula by hand and Krippendorff's own example; means, intervals and signs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from medreason_dist.review.agreement import Agreement, measure_agreement
from medreason_dist.review.estimate import Estimate, compare_signs, estimate_mean

NAN = np.nan


def table(*rows: list[float]) -> NDArray[np.float64]:
    return np.array(rows, np.float64)


def test_agreement_is_one_and_chance_is_no_agreement() -> None:
    assert measure_agreement(table([1, 2, 5, 3], [1, 2, 5, 3]), "ordinal") == Agreement(1.0, 4, 2, None)
    rng = np.random.default_rng(0)
    lots = measure_agreement(rng.integers(1, 6, (4, 2000)).astype(np.float64), "ordinal")
    assert lots.alpha == pytest.approx(0, abs=0.02)


def test_nominal_by_hand() -> None:
    # Coincidences o11 = 4, o22 = 2, o12 = o21 = 1; n1 = 5, n2 = 3, n = 8.
    # Observed disagreement 2 / 8, expected 2 * 5 * 3 / (8 * 7): alpha = 1 - 14 / 30.
    assert measure_agreement(table([1, 1, 2, 1], [1, 1, 2, 2]), "nominal").alpha == pytest.approx(8 / 15)


def test_ordinal_by_hand() -> None:
    # n1 = 2, n2 = 1, n3 = 3. Squared distances: (2 + 1 - 3 / 2)^2 = 2.25 from 1 to 2, (1 + 3 - 4 / 2)^2 = 4 from 2 to 3,
    # (2 + 1 + 3 - 5 / 2)^2 = 12.25 from 1 to 3. Observed 2 * 4 / 6, expected 2 * (2 * 2.25 + 6 * 12.25 + 3 * 4) / 30 = 6.
    assert measure_agreement(table([1, 2, 3], [1, 3, 3]), "ordinal").alpha == pytest.approx(7 / 9)


def test_krippendorffs_example() -> None:
    """Four observers, twelve units, missing values: 0.743 nominal, 0.815 ordinal (Computing Krippendorff's
    Alpha-Reliability, 2011, section C). The last unit has one value, which cannot be paired."""
    values = table(
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    )
    nominal, ordinal = measure_agreement(values, "nominal"), measure_agreement(values, "ordinal")
    assert (nominal.units, nominal.reviewers) == (11, 4)
    assert nominal.alpha == pytest.approx(0.743, abs=5e-4)
    assert ordinal.alpha == pytest.approx(0.815, abs=5e-4)


@pytest.mark.parametrize(
    ("values", "units", "reason"),
    [
        (table([1, NAN], [NAN, 2]), 0, "no two reviewers"),
        (table([1, 2, 3]), 0, "no two reviewers"),
        # The only other value stands alone and is not paired.
        (table([4, 4, 1], [4, 4, NAN]), 2, "every judgement is the same"),
    ],
)
def test_where_alpha_is_not_defined_the_reason_is_told(values: NDArray[np.float64], units: int, reason: str) -> None:
    agreement = measure_agreement(values, "ordinal")
    assert (agreement.alpha, agreement.units) == (None, units)
    assert reason in str(agreement.reason)


def test_the_mean_is_over_judgements_and_its_interval_over_questions() -> None:
    values = table([1, 1, NAN, 0], [1, NAN, NAN, 0], [1, 1, NAN, 0])
    estimate = estimate_mean(values, "x")
    assert estimate is not None
    assert estimate.value == pytest.approx(5 / 8)
    assert (estimate.judgements, estimate.questions) == (8, 3)
    assert estimate == estimate_mean(values, "x")
    # Reviewers that repeat each other add nothing to what the questions tell.
    rng = np.random.default_rng(1)
    one = rng.integers(0, 2, (1, 60)).astype(np.float64)
    single, many = estimate_mean(one, "x"), estimate_mean(np.repeat(one, 9, axis=0), "x")
    assert single is not None
    assert many is not None
    assert (many.value, many.low, many.high) == pytest.approx((single.value, single.low, single.high))
    # A binomial share of 60: within 1.96 standard errors, as normal theory has it.
    half = 1.96 * np.sqrt(single.value * (1 - single.value) / 60)
    assert (single.low, single.high) == pytest.approx((single.value - half, single.value + half), abs=0.02)
    assert estimate_mean(table([NAN, NAN]), "x") is None
    assert estimate_mean(table([2, NAN], [4, NAN]), "x") == Estimate(3.0, None, None, 2, 1)


def test_signs_count_questions_by_majority() -> None:
    # For the first by 2 to 1, even, for the second, for the first, not judged, only «no difference».
    values = table([1, 1, -1, 1, NAN, 0], [1, -1, -1, 0, NAN, 0], [-1, 0, 0, NAN, NAN, NAN])
    signs = compare_signs(values)
    assert (signs.first, signs.second, signs.even) == (2, 1, 2)
    # Two or more of three in one direction, two-sided: 2 * (3 + 1) / 8.
    assert signs.p_value == pytest.approx(1.0)
    assert compare_signs(np.ones((1, 6))).p_value == pytest.approx(2 / 64)
    assert compare_signs(table([0, 0])).p_value is None
