"""The store against the edges it was built from."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from medreason_dist.errors import GraphError
from medreason_dist.graph import store as store_module
from medreason_dist.graph.neighborhoods import build_neighborhoods
from medreason_dist.graph.store import GraphStore
from medreason_dist.schemas import NODES
from medreason_dist.storage import MANIFEST, Folder
from tests.conftest import S3Server
from tests.graph.small import Edge, networkx_hops, plan, random_edges, row, to_csv

EDGES: list[Edge] = [
    (10, 20, "indication", "indication"),
    (20, 10, "off-label use", "off-label use"),
    (20, 30, "ppi", "ppi"),
    (30, 40, "ppi", "ppi"),
    (99, 99, "ppi", "ppi"),
]


def build(folder: Path, edges: list[Edge], **settings: Any) -> GraphStore:
    (folder / "kg.csv").write_bytes(to_csv(row(edge) for edge in edges))
    build_neighborhoods(plan(folder / "kg.csv", folder / "graph", **settings))
    return GraphStore.open(Folder(str(folder / "graph")))


@pytest.fixture
def store(tmp_path: Path) -> GraphStore:
    return build(tmp_path, EDGES)


def test_a_node(store: GraphStore) -> None:
    assert (store.name(20), store.type(20), store.degree(20)) == ("node 20", "drug", 2)
    assert store.neighbors(20).tolist() == [10, 30]
    assert store.degree(99) == 0
    assert store.neighbors(99).tolist() == []
    assert (store.radius, len(store.fingerprint)) == (2, 64)
    assert store.node_index.tolist() == [10, 20, 30, 40, 99]
    assert store.node_table.schema == NODES


def test_relations_hold_both_ways(store: GraphStore) -> None:
    assert store.relations(10, 20) == store.relations(20, 10) == ("indication", "off-label use")
    assert store.relations(30, 40) == ("ppi",)
    assert store.relations(10, 40) == store.relations(40, 99) == store.relations(10, 10) == ()


@pytest.mark.parametrize("seeds", [None, [10, 30]])
def test_hops_of_every_node(seeds: list[int] | None, tmp_path: Path) -> None:
    store = build(tmp_path, EDGES, seeds=seeds)
    hops = {node: [hop.tolist() for hop in store.hops(node)] for node in store.node_index.tolist()}
    assert hops == {
        10: [[10], [20], [30]],
        20: [[20], [10, 30], [40]],
        30: [[30], [20, 40], [10]],
        40: [[40], [30], [20]],
        99: [[99], [], []],
    }
    assert all(hop.dtype == np.int32 for hop in store.hops(40))


@given(edges=random_edges())
def test_hops_and_relations_of_random_graphs(edges: list[Edge], tmp_path_factory: pytest.TempPathFactory) -> None:
    store = build(tmp_path_factory.mktemp("store"), edges, radius=3)
    oracle = networkx_hops((edge[:2] for edge in edges), 3)
    nodes = store.node_index.tolist()
    for node in nodes:
        assert [hop.tolist() for hop in store.hops(node)][1:] == [oracle.get((node, hop), []) for hop in (1, 2, 3)]
        for other in nodes:
            held = {d for x, y, _, d in edges if (x, y) in ((node, other), (other, node)) and x != y}
            assert store.relations(node, other) == tuple(sorted(held))


def test_few_buckets_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "CACHED_BUCKETS", 2)
    store = build(tmp_path, [(n, n + 1, "ppi", "ppi") for n in range(20)], buckets=5)
    for _ in range(2):
        for node in range(1, 20):
            assert store.hops(node)[1].tolist() == [node - 1, node + 1]
            assert len(store._buckets) <= 2


@pytest.mark.parametrize("node", [-1, 0, 15, 100, 2**31 - 1])
def test_an_unknown_node(node: int, store: GraphStore) -> None:
    for ask in (store.name, store.type, store.degree, store.neighbors, store.hops):
        with pytest.raises(KeyError):
            ask(node)
    with pytest.raises(KeyError):
        store.relations(10, node)


def test_it_travels(store: GraphStore) -> None:
    assert pickle.loads(pickle.dumps(store)).hops(10)[2].tolist() == [30]


def test_a_folder_without_its_manifest_is_refused(store: GraphStore, tmp_path: Path) -> None:
    (tmp_path / "graph" / MANIFEST).unlink()
    for name in ("graph", "nowhere"):
        with pytest.raises(GraphError, match=r"_manifest.json is missing[\s\S]*jobs/build_neighborhoods.py"):
            GraphStore.open(Folder(str(tmp_path / name)))


@pytest.mark.parametrize(
    ("key", "value", "what"), [("schemas", {"nodes": "old"}, "other schemas"), ("edges", 5, "its manifest says")]
)
def test_a_manifest_that_does_not_fit_is_refused(
    key: str, value: object, what: str, store: GraphStore, tmp_path: Path
) -> None:
    path = tmp_path / "graph" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(GraphError, match=what):
        GraphStore.open(Folder(str(tmp_path / "graph")))


@pytest.mark.s3
def test_on_s3(s3: S3Server, tmp_path: Path) -> None:
    from dataclasses import replace

    uri = f"{s3.new_bucket()}/graph"
    (tmp_path / "kg.csv").write_bytes(to_csv(row(edge) for edge in EDGES))
    config = plan(tmp_path / "kg.csv", tmp_path)
    config = replace(config, graph=replace(config.graph, uri=uri), storage=s3.storage)
    assert [build_neighborhoods(config).built for _ in range(2)] == [True, False]
    store = GraphStore.open(Folder(uri, s3.storage))
    assert [hop.tolist() for hop in store.hops(20)] == [[20], [10, 30], [40]]
