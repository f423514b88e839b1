"""Fuzzed completions: each question is accepted or rejected. ``python -m benchmarks.fuzz`` tries more."""

from __future__ import annotations

import pytest

from benchmarks.fuzz import try_all, try_completion
from medreason_dist.schemas import RejectReason, Status


@pytest.mark.slow
def test_every_question_comes_out_and_can_be_written() -> None:
    counts, crashes, _ = try_all(try_completion, range(150))
    assert crashes == {}
    assert counts.total() == 150
    assert set(counts) <= {Status.accepted, *RejectReason}
    assert len(counts) > 5


@pytest.mark.slow
def test_a_case_depends_on_its_number_alone() -> None:
    first, second = ([try_completion(seed) for seed in seeds] for seeds in (range(8), range(7, -1, -1)))
    assert first == second[::-1]
