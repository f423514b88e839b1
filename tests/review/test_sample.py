"""The sample: strata, that larger ones extend smaller ones, and datasets that give none."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medreason_dist.config import Config, load_config
from medreason_dist.errors import ConfigError, RunError
from medreason_dist.review.sample import Stratum, allocate, draw_sample, split_steps
from tests.review.datasets import published_rows, write_dataset
from tests.review.reviews import make_config

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=6).map(
    lambda sizes: {Stratum(f"s{place}", True): size for place, size in enumerate(sizes)}
)


@given(SIZES, st.integers(1, 90))
def test_places_are_proportional_and_grow_with_the_sample(sizes: dict[Stratum, int], places: int) -> None:
    given_places, with_one_more = allocate(sizes, places), allocate(sizes, places + 1)
    total = sum(sizes.values())
    assert sum(given_places.values()) == min(places, total)
    assert all(given_places[each] <= with_one_more[each] <= sizes[each] for each in sizes)
    if places >= len(sizes):
        assert min(given_places.values()) >= 1
    if places <= total:
        # The divisor method leaves the quota by less than one but for the place that each has at least.
        assert all(given_places[each] <= places * sizes[each] / total + 2 for each in sizes)


def test_allocation_by_hand() -> None:
    large, middle, small = Stratum("large", True), Stratum("middle", False), Stratum("small", True)
    # One each, then by size / 3, size / 5, ...: 33.3, 20, 14.3 and 11.1 of large before 10 of middle.
    sizes = {large: 100, middle: 30, small: 2}
    assert allocate(sizes, 7) == {large: 5, middle: 1, small: 1}
    assert allocate(sizes, 8) == {large: 5, middle: 2, small: 1}
    assert allocate(sizes, 2) == {large: 1, middle: 1, small: 0}


def test_a_larger_sample_extends_a_smaller_one_and_has_every_stratum(tmp_path: Path) -> None:
    config = make_config(tmp_path, rows=40)
    samples = [draw_sample(replace(config, review=replace(config.review, questions=size))) for size in (5, 6, 20, 60)]
    ids = [{each.question_id for each in sample.questions} for sample in samples]
    assert [len(each) for each in ids] == [5, 6, 20, 40]
    assert ids[0] < ids[1] < ids[2] < ids[3]
    strata = Counter((each.dataset, bool(each.options)) for each in samples[2].questions)
    assert strata == {("medqa", True): 8, ("medmcqa", True): 4, ("pubmedqa", True): 4, ("huatuo", False): 4}
    assert (samples[3].asked, samples[3].available) == (60, 40)
    other_seed = draw_sample(replace(config, run=replace(config.run, seed=1)))
    assert {each.question_id for each in other_seed.questions} != ids[1]


def test_only_what_both_datasets_have_is_paired_and_splits_are_kept(tmp_path: Path) -> None:
    config = make_config(tmp_path, questions=50)
    write_dataset(tmp_path / "two", published_rows(20, "plain")[9:])
    sample = draw_sample(config)
    assert len(sample.questions) == 3
    for each in sample.questions:
        assert each.traces["first"] != each.traces["second"]
    alone = draw_sample(replace(config, review=replace(config.review, other=None, splits=["test"])))
    assert [set(each.traces) for each in alone.questions] == [{"first"}] * 6


def test_what_gives_no_sample_is_refused(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    write_dataset(tmp_path / "elsewhere", published_rows(40, "plain")[35:])
    refused: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"other": f"{tmp_path}/one"}, RunError, "the same traces"),
        ({"other": f"{tmp_path}/elsewhere"}, RunError, "12, 5 questions, none in common"),
        ({"other": f"{tmp_path}/nowhere"}, RunError, "no published dataset"),
        ({"splits": ["validation"]}, ConfigError, "'validation', which the dataset does not have"),
    ]
    for settings, error, told in refused:
        with pytest.raises(error, match=told):
            draw_sample(replace(config, review=replace(config.review, **settings)))
    with pytest.raises(ConfigError, match=r"'review.questions' is 0"):
        load_config(Config, None, ["review.questions=0"])


def test_steps_have_all_of_the_text() -> None:
    text = 'He asked "why?" She said (no.) Then 5 mg. were given;  see below.\n\n1. One thing.\n2. E. coli, e.g. here!'
    steps = split_steps(text)
    assert steps[-2:] == ["1. One thing.", "2. E. coli, e.g. here!"]
    assert "".join("".join(steps).split()) == "".join(text.split())
    assert split_steps(" \n ") == []
