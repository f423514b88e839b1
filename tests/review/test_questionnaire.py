"""Blindness: nothing that a reviewer gets tells a method, whichever way it is looked at."""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from openpyxl import load_workbook

from medreason_dist.config import Config
from medreason_dist.review.key import Key
from medreason_dist.review.page import render_questionnaire
from medreason_dist.review.workbook import COLUMNS, write_workbook
from tests.review.reviews import make_config, make_key

STEPS = COLUMNS.index("steps")


def both_ways(config: Config) -> tuple[Key, Key]:
    """Returns the key of a review, and its key where the two datasets change places."""
    assert config.review.other is not None
    swapped = replace(config.review, dataset=config.review.other, other=config.review.dataset)
    return make_key(config), make_key(replace(config, review=swapped))


def without_steps(page: str, fingerprint: str) -> str:
    return re.sub(r'<ol class="steps">.*?</ol>', "", page, flags=re.DOTALL).replace(fingerprint, "")


def test_with_methods_swapped_nothing_changes_but_the_traces(tmp_path: Path) -> None:
    key, swapped = both_ways(make_config(tmp_path, questions=4))
    for reviewer in key.reviewers:
        one, other = key.questionnaire(reviewer), swapped.questionnaire(reviewer)
        for item, same in zip(one.items, other.items, strict=True):
            assert item.traces == {"A": same.traces["B"], "B": same.traces["A"]}
            assert replace(item, traces={}) == replace(same, traces={})
        pages = [without_steps(render_questionnaire(each), each.fingerprint) for each in (one, other)]
        assert pages[0] == pages[1]
        assert one.fingerprint != other.fingerprint
        books = [parts(write_workbook(each), each.fingerprint) for each in (one, other)]
        assert [name for name in books[0] if books[0][name] != books[1][name]] == ["xl/worksheets/sheet2.xml"]
        cells = [cells_of(write_workbook(each)) for each in (one, other)]
        differing = {
            column
            for row in zip(*cells, strict=True)
            for column in range(len(COLUMNS))
            if row[0][column] != row[1][column]
        }
        assert differing == {STEPS}


def test_no_method_dataset_model_or_id_is_in_what_is_sent(tmp_path: Path) -> None:
    config = make_config(tmp_path, questions=4)
    key = make_key(config)
    secrets = {config.review.dataset, config.review.other, "invented/", "graph-model", "plain-model", "medqa", "huatuo"}
    secrets |= {origin.fingerprint[:12] for origin in key.sample.origins.values()} | {key.sample.fingerprint[:12]}
    secrets |= {each.question_id for each in key.sample.questions}
    for reviewer in key.reviewers:
        questionnaire = key.questionnaire(reviewer)
        sent = [render_questionnaire(questionnaire), *parts(write_workbook(questionnaire)).values()]
        assert [(secret, text[:80]) for secret in secrets for text in sent if secret and secret in text] == []
        assert "<!--" not in sent[0]
        assert load_workbook(io.BytesIO(write_workbook(questionnaire))).sheetnames == ["about", "review"]


def parts(book: bytes, fingerprint: str = "") -> dict[str, str]:
    """Returns the texts in a workbook by name, without its fingerprint."""
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        assert {each.date_time for each in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        return {name: archive.read(name).decode().replace(fingerprint, "") for name in archive.namelist()}


def cells_of(book: bytes) -> list[tuple[Any, ...]]:
    return list(load_workbook(io.BytesIO(book))["review"].iter_rows(values_only=True))


def test_sides_and_order_are_each_reviewers_own_and_balanced(tmp_path: Path) -> None:
    key = make_key(make_config(tmp_path, questions=20, rows=40, reviewers=["r1", "r2", "r3"]))
    orders, sides = set(), set()
    for assignment in key.reviewers.values():
        assert Counter(each["A"] for each in assignment.sides.values()) == {"first": 10, "second": 10}
        orders.add(tuple(assignment.sides))
        sides.add(tuple(assignment.sides[item]["A"] for item in sorted(assignment.sides)))
    assert len(orders) == len(sides) == 3
    # Neither the item's name nor its place says the side.
    first = key.reviewers["r1"].sides
    for half in (sorted(first)[:10], list(first)[:10]):
        assert 1 < sum(first[item]["A"] == "first" for item in half) < 9


def test_the_same_questionnaire_gives_the_same_bytes(tmp_path: Path) -> None:
    key = make_key(make_config(tmp_path, questions=2))
    questionnaire = key.questionnaire("r1")
    assert write_workbook(questionnaire) == write_workbook(questionnaire)
    assert render_questionnaire(questionnaire) == render_questionnaire(questionnaire)
    assert key.questionnaire("r2").fingerprint != questionnaire.fingerprint
