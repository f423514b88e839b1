from __future__ import annotations

import pytest

from medreason_dist.reasoning.mentions import NameIndex, merge_mentions, name_variants, normal_form
from medreason_dist.reasoning.records import Mention
from medreason_dist.schemas import Side


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Diabetes  Mellitus", "diabetes mellitus"),
        ("Sjögren's syndrome", "sjogren syndrome"),
        ("TNF-α", "tnf alpha"),
        ("Angiotensin II", "angiotensin 2"),
        ("anaemia", "anemia"),
        ("oesophageal tumours", "esophageal tumor"),
        ("beta-blockers", "beta blocker"),
        ("Crohn’s disease", "Crohn disease"),
    ],
)
def test_spellings_of_one_name_have_one_normal_form(left: str, right: str) -> None:
    assert normal_form(left) == normal_form(right)


@pytest.mark.parametrize(("left", "right"), [("hepatitis", "hepatiti"), ("type 1", "type 2"), ("virus", "viru")])
def test_different_names_keep_different_normal_forms(left: str, right: str) -> None:
    assert normal_form(left) != normal_form(right)


def test_variants_turn_a_comma_round_and_drop_parentheses() -> None:
    assert normal_form("type 2 diabetes mellitus") in set(name_variants("Diabetes mellitus, type 2"))
    assert normal_form("Marfan syndrome") in set(name_variants("Marfan syndrome (disease)"))


def test_exact_and_alias_find_all_nodes_of_a_shared_name(names: NameIndex) -> None:
    assert names.exact("HYPERTENSION") == (5, 6)
    assert names.exact("Sjogren's syndrome") == ()
    assert names.alias("Sjogren's syndrome") == (7,)
    assert names.alias("nothing of the kind") == ()


def test_scan_takes_the_longest_name_in_order_of_appearance(names: NameIndex) -> None:
    text = "A man with Type II Diabetes Mellitus and sjögren's syndrome takes metformin."
    assert [m.text for m in names.scan(text, Side.question)] == [
        "Type II Diabetes Mellitus",
        "sjögren's syndrome",
        "metformin",
    ]


def test_scan_wants_a_gene_in_its_capitals_and_leaves_general_words() -> None:
    index = NameIndex(
        [1, 2, 3, 4], ["CAT", "Disease", "Pain", "Hip"], ["gene/protein", "disease", "disease", "anatomy"]
    )
    found = index.scan("The cat has a disease and pain in the hip. CAT was low.", Side.question)
    assert [m.text for m in found] == ["pain", "CAT"]


def test_long_runs_of_marks_are_cut_and_the_words_around_them_stay(names: NameIndex) -> None:
    # Unicode orders marks in quadratic time.
    marks = "\u0301\u0316" * 100_000
    assert normal_form(f"e{marks} metformin") == "e metformin"
    assert [m.text for m in names.scan(f"Sj\u00f6gren{marks} metformin", Side.question)] == ["metformin"]


@pytest.mark.parametrize("text", ["x" * 100_000, "a " * 50_000, "type " * 20_000, "\ufdfa" * 5_000, "." * 100_000])
def test_scan_of_a_long_text_finds_what_stands_in_it(names: NameIndex, text: str) -> None:
    assert [m.text for m in names.scan(f"{text} metformin", Side.question)] == ["metformin"]


def test_scan_of_nothing_is_nothing(names: NameIndex) -> None:
    assert names.scan("", Side.question) == []
    assert NameIndex([], [], []).scan("metformin", Side.question) == []


def test_merge_adds_the_engines_type_and_keeps_a_limit_on_each_side() -> None:
    gazetteer = [Mention("Metformin", Side.question, None, "gazetteer")]
    engine = [
        Mention("metformin", Side.question, "drug", "engine"),
        Mention("fever", Side.question, "disease", "engine"),
        Mention("?!", Side.answer, "disease", "engine"),
        Mention("insulin", Side.answer, "drug", "engine"),
    ]
    merged = merge_mentions(gazetteer, engine, limit=1)
    assert merged == [
        Mention("Metformin", Side.question, "drug", "gazetteer"),
        Mention("insulin", Side.answer, "drug", "engine"),
    ]
