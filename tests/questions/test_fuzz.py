"""Fuzzed rows: each becomes a question, a dropped row or a typed error. ``python -m benchmarks.fuzz`` tries more."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmarks.fuzz import try_all, try_row


@pytest.mark.slow
def test_every_row_comes_out_and_can_be_written(tmp_path: Path) -> None:
    counts, crashes, _ = try_all(partial(try_row, folder=tmp_path), range(150))
    assert crashes == {}
    assert counts.total() == 150
    assert set(counts) == {"question", "invalid_input", "duplicate", "near_duplicate", "SourceError"}


def test_a_case_depends_on_its_number_alone(tmp_path: Path) -> None:
    first, second = ([try_row(seed, tmp_path) for seed in seeds] for seeds in (range(8), range(7, -1, -1)))
    assert first == second[::-1]
