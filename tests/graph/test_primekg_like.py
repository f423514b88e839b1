"""The benchmarks' graph: the format and shape of the published one, at a hundredth of its size."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import networkx as nx
import numpy as np
import pytest

from benchmarks.primekg_like import KINDS, Counts, read_relations, read_table, write_kg
from medreason_dist.graph.primekg import KnowledgeGraph, parse_source
from medreason_dist.graph.source import open_source

SCALE = 0.01


class Made(NamedTuple):
    path: Path
    counts: Counts
    kg: KnowledgeGraph


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    path = tmp_path_factory.mktemp("primekg_like") / "kg.csv"
    counts = write_kg(path, SCALE)
    return Made(path, counts, parse_source(open_source(str(path))))


def test_the_published_figures() -> None:
    relations = read_relations()
    assert sum(int(nodes) for _, nodes, *_ in read_table(KINDS)) == 129_375
    assert sum(relation.rows for relation in relations) == 8_100_498
    assert len(read_table(KINDS)) == 10
    assert len({relation.name for relation in relations}) == 30
    assert len({relation.display for relation in relations}) == 18


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(made: Made, tmp_path: Path) -> None:
    for name in ("again.csv", "one.csv.gz", "two.csv.gz"):
        assert write_kg(tmp_path / name, SCALE) == made.counts
    assert (tmp_path / "again.csv").read_bytes() == made.path.read_bytes()
    one, two = ((tmp_path / f"{name}.csv.gz").read_bytes() for name in ("one", "two"))
    assert one == two
    # Where a gzip file has its time.
    assert one[4:8] == bytes(4)
    assert gzip.decompress(one) == made.path.read_bytes()
    write_kg(tmp_path / "other.csv", SCALE, seed=1)
    assert (tmp_path / "other.csv").read_bytes() != made.path.read_bytes()


@pytest.mark.slow
def test_quotes_stand_where_they_must_and_every_edge_in_both_directions(made: Made) -> None:
    text = made.path.read_text()
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    again = io.StringIO(newline="")
    csv.writer(again, lineterminator="\n").writerows([header, *rows])
    assert again.getvalue() == text
    half = len(rows) // 2
    assert [row[:2] + row[7:] + row[2:7] for row in rows[:half]] == rows[half:]


def test_it_is_a_sound_graph(made: Made) -> None:
    kg, counts = made.kg, made.counts
    rows = sum(counts.rows.values())
    clean = {"rows_read": rows, "edges": rows}
    clean |= dict.fromkeys(("wrong_rows", "self_loops", "duplicates", "reversed_added"), 0)
    assert kg.counts == {**clean, "nodes": sum(counts.nodes.values())}
    assert Counter(kg.nodes["node_type"].to_pylist()) == counts.nodes
    assert Counter(kg.edges["relation"].to_pylist()) == counts.rows


def test_types_and_relations_keep_their_proportions(made: Made) -> None:
    published: Counter[str] = Counter()
    for relation in read_relations():
        published[relation.name] += relation.rows
    for name, rows in published.items():
        # An edge is two rows, drug_protein the sum of four numbers that were rounded.
        assert made.counts.rows[name] == pytest.approx(max(2, rows * SCALE), abs=4), name
    for kind, nodes, *_ in read_table(KINDS):
        wanted = int(nodes) * SCALE
        if kind in ("drug", "exposure"):
            assert made.counts.nodes[kind] > wanted
        else:
            assert made.counts.nodes[kind] == pytest.approx(wanted, abs=0.5), kind


@pytest.mark.slow
def test_relations_join_the_types_that_they_join_in_the_original(made: Made, shared: Path) -> None:
    def joined(kg: KnowledgeGraph) -> set[tuple[str, str, str, str]]:
        kinds = dict(zip(kg.nodes["node_index"].to_pylist(), kg.nodes["node_type"].to_pylist(), strict=True))
        columns = kg.edges.select(["relation", "display_relation", "src", "dst"]).to_pydict().values()
        return {(name, display, kinds[x], kinds[y]) for name, display, x, y in zip(*columns, strict=True)}

    original = joined(parse_source(open_source(str(shared / "data/primekg/kg.csv.gz"))))
    odd = {x for x in original if x[0] == "contraindication" and "exposure" in x}
    assert original - joined(made.kg) == odd
    assert len(original - odd) > 30


@pytest.mark.slow
def test_one_piece_with_hubs_and_a_long_tail(tmp_path: Path) -> None:
    write_kg(tmp_path / "kg.csv", 0.1)
    kg = parse_source(open_source(str(tmp_path / "kg.csv")))
    kinds, degrees = np.array(kg.nodes["node_type"].to_pylist()), kg.nodes["degree"].to_numpy()
    assert degrees.min() > 0
    for kind, times in {"anatomy": 20, "molecular_function": 50, "cellular_component": 20, "disease": 10}.items():
        found = degrees[kinds == kind]
        assert found.max() > times * found.mean() > 3 * times * np.median(found), kind
    pairs = zip(kg.edges["src"].to_numpy().tolist(), kg.edges["dst"].to_numpy().tolist(), strict=True)
    assert nx.is_connected(nx.Graph(pairs))


@pytest.mark.slow
def test_the_traps_of_the_original(made: Made) -> None:
    nodes = made.kg.nodes.to_pylist()
    names = [node["node_name"] for node in nodes]
    assert sum("," in name and '"' in name for name in names) >= 10
    assert sum(not name.isascii() for name in names) >= 10
    grouped = [node for node in nodes if "_" in node["node_id"]]
    assert {(node["node_source"], node["node_type"]) for node in grouped} == {("MONDO_grouped", "disease")}
    assert all(part.isdigit() for node in grouped for part in node["node_id"].split("_"))
    assert len({(node["node_type"], node["node_id"]) for node in nodes}) == len(nodes)
    types, spellings = defaultdict(set), defaultdict(set)
    for node in nodes:
        types[node["node_name"]].add(node["node_type"])
        spellings[node["node_name"].lower()].add(node["node_name"])
    assert {"drug", "exposure", "gene/protein"} in types.values()
    assert any(len(found) == 2 for found in spellings.values())


@pytest.mark.parametrize("scale", [0.0, 0.009, 1.1])
def test_a_scale_that_cannot_be(scale: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allowed is"):
        write_kg(tmp_path / "kg.csv", scale)
    assert not (tmp_path / "kg.csv").exists()
