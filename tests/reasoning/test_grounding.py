from __future__ import annotations

import itertools
from pathlib import Path as File
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.grounding import KINDS, area, plant, plant_cases
from medreason_dist.config import GraphConfig
from medreason_dist.graph.neighborhoods import build_neighborhoods
from medreason_dist.graph.store import GraphStore
from medreason_dist.reasoning.grounding import MAX_CLAIMS, MAX_PAIRED, ground
from medreason_dist.reasoning.mentions import NameIndex
from medreason_dist.reasoning.records import Entity, Path
from medreason_dist.schemas import GROUNDING, LinkedBy, Side
from tests.conftest import ROOT
from tests.graph.small import plan
from tests.reasoning.conftest import EDGES, NODES, MemoryGraph

KEPT = (Path((0, 2, 8, 1), 1), Path((0, 1), 2))
"""metformin — PRKAA1 — gluconeogenesis — type 2 diabetes mellitus, and the indication."""


def grounded(reasoning: str, kept: tuple[Path, ...] = KEPT, *entities: Entity, **more: tuple[str, str]) -> Any:
    """The column for a reasoning on the small graph; ``more`` are further nodes, by number: ``n9=(name, type)``."""
    nodes = NODES | {int(number[1:]): node for number, node in more.items()}
    names = NameIndex(nodes, [name for name, _ in nodes.values()], [kind for _, kind in nodes.values()])
    return ground(reasoning, kept, entities, MemoryGraph(nodes, EDGES), names)


def spans(reasoning: str, row: Any) -> list[str]:
    return [reasoning[name["start"] : name["end"]] for name in row["named"]]


def test_the_column_of_a_reasoning_whole() -> None:
    reasoning = "Metformin acts on PRKAA1. In type II diabetes mellitus, metformin rather than Glipizide is given."
    row = grounded(reasoning)
    claims = [
        {"src": 1, "dst": 0, "relations": "indication | off-label use", "on_path": True},
        {"src": 1, "dst": 3, "relations": "indication", "on_path": False},
        {"src": 0, "dst": 3, "relations": None, "on_path": False},
    ]
    assert {key: value for key, value in row.items() if key not in ("named", "steps")} == {
        "path_nodes": 4,
        "path_nodes_named": 3,
        "path_edges": 4,
        "path_edges_used": 2,
        "claims": 4,
        "claims_supported": 3,
        "claims_on_path": 2,
        "entities_named": 4,
        "entities_off_path": 1,
        "coverage": 2 / 4,
        "support": 3 / 4,
        "off_path": 1 / 4,
    }
    assert [reasoning[step["start"] : step["end"]] for step in row["steps"]] == [reasoning[:25], reasoning[26:]]
    assert row["steps"][0]["claims"] == [{"src": 0, "dst": 2, "relations": "target", "on_path": True}]
    assert row["steps"][1]["claims"] == claims
    assert spans(reasoning, row) == ["Metformin", "PRKAA1", "type II diabetes mellitus", "metformin", "Glipizide"]
    assert [(n["node_index"], n["name"], n["on_path"]) for n in row["named"]][-1] == (3, "Glipizide", False)
    assert pa.array([row], GROUNDING).to_pylist() == [row]


def test_nothing_named_has_no_scores_but_coverage() -> None:
    row = grounded("Nothing of the kind is said here.")
    assert (row["coverage"], row["support"], row["off_path"]) == (0, None, None)
    assert grounded("Metformin acts on PRKAA1.", ())["coverage"] is None


def test_two_sentences_make_no_claim_together() -> None:
    row = grounded("Metformin is given. It acts on PRKAA1.")
    assert (row["path_nodes_named"], row["claims"], row["path_edges_used"]) == (2, 0, 0)


@pytest.mark.parametrize(
    ("reasoning", "found"),
    [
        ("Sjögren's syndrome", ["Sjögren's syndrome"]),
        ("He has Sjo\u0308gren syndromes, ", ["Sjo\u0308gren syndromes"]),
        ("\U0001f9ec½ﬁ ＭＥＴＦＯＲＭＩＮ²", []),
        ("\U0001f9ec½ﬁ ＭＥＴＦＯＲＭＩＮ!", ["ＭＥＴＦＯＲＭＩＮ"]),
        ("lactic-acidosis; LACTIC\u00a0ACIDOSIS", ["lactic-acidosis", "LACTIC\u00a0ACIDOSIS"]),
        ("metforminoid, prkaa1, XPRKAA1", []),
        ("e" + "\u0301\u0316" * 40 + " metformin", ["metformin"]),
    ],
)
def test_names_are_where_the_stored_text_has_them(reasoning: str, found: list[str]) -> None:
    assert spans(reasoning, grounded(reasoning)) == found


@given(st.text(st.characters() | st.sampled_from("\u0301\u0316ö½ﬁ "), max_size=60), st.text(max_size=20))
def test_every_span_lies_in_its_step_and_is_the_name(before: str, after: str) -> None:
    reasoning = f"{before} Metformin and gluconeogenesis {after}"
    row = grounded(reasoning)
    assert {"Metformin", "gluconeogenesis"} <= {span.rstrip("\u0301\u0316") for span in spans(reasoning, row)}
    ends = [0, *itertools.chain.from_iterable((s["start"], s["end"]) for s in row["steps"]), len(reasoning)]
    assert ends == sorted(ends)
    for name in row["named"]:
        assert any(step["start"] <= name["start"] < name["end"] <= step["end"] for step in row["steps"])


def test_the_longest_name_counts() -> None:
    row = grounded("Metformin for type 2 diabetes mellitus.", KEPT, n9=("diabetes mellitus", "disease"))
    assert [name["node_index"] for name in row["named"]] == [0, 1]


def test_of_the_bearers_of_a_name_the_one_on_a_path_is_meant_then_the_linked_one() -> None:
    linked = Entity(6, "high blood pressure", 0.9, LinkedBy.engine, Side.question)
    assert grounded("Hypertension.")["named"][0]["node_index"] == 5
    assert grounded("Hypertension.", KEPT, linked)["named"][0]["node_index"] == 6
    on_path = grounded("Hypertension.", (Path((1, 5), 1),), linked)["named"][0]
    assert (on_path["node_index"], on_path["on_path"]) == (5, True)
    # The mention is a name as well.
    assert grounded("HIGH blood pressure.", KEPT, linked)["named"][0]["name"] == "Hypertension"


def test_a_claim_is_supported_by_any_bearer_of_its_names() -> None:
    nodes = NODES | {9: ("Lactic acidosis", "disease")}
    names = NameIndex(nodes, [name for name, _ in nodes.values()], [kind for _, kind in nodes.values()])
    linked = (Entity(9, "Lactic acidosis", 1, LinkedBy.exact, Side.question),)
    row = ground("Metformin and lactic acidosis.", KEPT, linked, MemoryGraph(nodes, EDGES), names)
    assert row["named"][1]["node_index"] == 9
    assert row["steps"][0]["claims"] == [{"src": 0, "dst": 4, "relations": "side effect", "on_path": False}]


def test_general_and_short_names_count_only_where_the_question_has_them_and_genes_as_they_are_written() -> None:
    nodes = {"n9": ("Cell", "anatomy"), "n10": ("F2", "gene/protein"), "n11": ("Hip", "anatomy")}
    reasoning = "The cell of the hip has F2, not f2."
    assert grounded(reasoning, KEPT, **nodes)["named"] == []
    linked = [Entity(n, name, 1, LinkedBy.exact, Side.question) for n, name in ((9, "cell"), (10, "F2"), (11, "hip"))]
    assert spans(reasoning, grounded(reasoning, KEPT, *linked, **nodes)) == ["cell", "hip", "F2"]


def test_a_long_list_makes_a_bounded_number_of_claims_and_keeps_those_on_a_path() -> None:
    drugs = {f"n{number}": (f"drug{number}", "drug") for number in range(100, 160)}
    listed = ", ".join(name for name, _ in drugs.values())
    row = grounded(f"{listed}, metformin and PRKAA1.", KEPT, **drugs)
    assert (row["entities_named"], row["claims"], row["path_edges_used"]) == (62, MAX_PAIRED * (MAX_PAIRED - 1) // 2, 1)
    row = grounded(f"{listed}.\n" * 60, KEPT, **drugs)
    assert (row["claims"], len(row["steps"])) == (MAX_CLAIMS, 60)


@pytest.mark.parametrize("word", ["A. ", "metformin. ", "type ", "type 2 ", "β-", "e\u0301\u0316", "\ufdfa", "x", ", "])
def test_a_word_that_is_repeated_without_end_takes_no_more_than_its_length(word: str) -> None:
    row = grounded(word * (30_000 // len(word)) + " PRKAA1 metformin.")
    assert row["path_edges_used"] == 1


def areas(graph: GraphStore, cases: int) -> dict[str, tuple[float, ...]]:
    """The area under the ROC curve of (coverage, support, off_path), for each kind of planted reasoning."""
    table = graph.node_table
    names = NameIndex(*(table[column].to_pylist() for column in ("node_index", "node_name", "node_type")))
    rows = {
        kind: [ground(text, kept, (), graph, names) for text, kept in planted]
        for kind, planted in plant(plant_cases(graph, cases)).items()
    }
    return {
        kind: tuple(area(rows["good"], rows[kind], score) for score in ("coverage", "support", "off_path"))
        for kind in KINDS
    }


def require_separated(found: dict[str, tuple[float, ...]], clear: float) -> None:
    for kind in ("swapped", "unconnected", "dropped", "unrelated", "listed"):
        assert found[kind][0] > clear, f"coverage of {kind}"
    for kind in ("swapped", "unconnected", "listed"):
        assert found[kind][1] > clear, f"support of {kind}"
    for kind in ("swapped", "unrelated"):
        assert found[kind][2] > clear, f"off_path of {kind}"
    # What the scores do not see.
    for kind in ("turned", "negated"):
        assert all(abs(score - 0.5) < 0.02 for score in found[kind]), kind


@pytest.mark.slow
def test_planted_good_and_bad_reasonings_separate_on_the_quickstarts_graph(tmp_path: File) -> None:
    build_neighborhoods(plan(ROOT / "examples/quickstart/kg.csv", tmp_path / "graph"))
    require_separated(areas(GraphStore.open(GraphConfig(uri=str(tmp_path / "graph"))), 60), 0.93)


@pytest.mark.slow
def test_planted_good_and_bad_reasonings_separate_on_the_shared_fragment(shared: File, tmp_path: File) -> None:
    build_neighborhoods(plan(shared / "data/primekg/kg.csv.gz", tmp_path / "graph"))
    require_separated(areas(GraphStore.open(GraphConfig(uri=str(tmp_path / "graph"))), 200), 0.98)
