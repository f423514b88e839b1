"""The store against the edges it was built from."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.s3_server import S3Server
from medreason_dist.config import GraphConfig, Lookup
from medreason_dist.errors import GraphError
from medreason_dist.graph.neighborhoods import build_neighborhoods
from medreason_dist.graph.store import GraphStore
from medreason_dist.schemas import NODES
from medreason_dist.storage import MANIFEST
from tests.graph.small import Edge, all_hops, networkx_hops, plan, random_edges, row, to_csv

EDGES: list[Edge] = [
    (10, 20, "indication", "indication"),
    (20, 10, "off-label use", "off-label use"),
    (20, 30, "ppi", "ppi"),
    (30, 40, "ppi", "ppi"),
    (99, 99, "ppi", "ppi"),
]


def build(
    folder: Path,
    edges: list[Edge],
    lookup: Lookup = Lookup.neighborhoods,
    cache_bytes: int = 1_000_000,
    **settings: Any,
) -> GraphStore:
    (folder / "kg.csv").write_bytes(to_csv(row(edge) for edge in edges))
    build_neighborhoods(plan(folder / "kg.csv", folder / "graph", **settings))
    return GraphStore.open(GraphConfig(uri=str(folder / "graph"), lookup=lookup, cache_bytes=cache_bytes))


@pytest.fixture(params=list(Lookup))
def store(tmp_path: Path, request: pytest.FixtureRequest) -> GraphStore:
    return build(tmp_path, EDGES, request.param)


def test_a_node(store: GraphStore) -> None:
    assert (store.name(20), store.type(20), store.degree(20)) == ("node 20", "drug", 2)
    assert store.degree(99) == 0
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
    hops = {node: [hop.tolist() for hop in all_hops(store, node)] for node in store.node_index.tolist()}
    assert hops == {
        10: [[10], [20], [30]],
        20: [[20], [10, 30], [40]],
        30: [[30], [20, 40], [10]],
        40: [[40], [30], [20]],
        99: [[99], [], []],
    }
    assert all(hop.dtype == np.int32 for hop in all_hops(store, 40))


@pytest.mark.slow
@given(edges=random_edges())
def test_hops_and_relations_of_random_graphs(edges: list[Edge], tmp_path_factory: pytest.TempPathFactory) -> None:
    store = build(tmp_path_factory.mktemp("store"), edges, radius=3)
    oracle = networkx_hops((edge[:2] for edge in edges), 3)
    nodes = store.node_index.tolist()
    for node in nodes:
        assert [hop.tolist() for hop in all_hops(store, node)][1:] == [oracle.get((node, hop), []) for hop in (1, 2, 3)]
        for other in nodes:
            held = {d for x, y, _, d in edges if (x, y) in ((node, other), (other, node)) and x != y}
            assert store.relations(node, other) == tuple(sorted(held))


@pytest.mark.slow
@given(edges=random_edges(), data=st.data())
def test_edges_between_sets_of_nodes(
    edges: list[Edge], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = build(tmp_path_factory.mktemp("store"), edges)
    nodes = store.node_index.tolist()
    held: dict[tuple[int, int], set[str]] = {}
    for x, y, _, display in edges:
        if x != y:
            held.setdefault((x, y), set()).add(display)
            held.setdefault((y, x), set()).add(display)
    left, right = (sorted(data.draw(st.sets(st.sampled_from(nodes)))) for _ in range(2))
    columns = store.edges_between(np.array(left, dtype=np.int32), np.array(right, dtype=np.int32))

    def degree(node: int, relations: set[str]) -> int:
        return sum(bool(relations & there) for (src, _), there in held.items() if src == node)

    assert list(zip(*(column.tolist() for column in columns), strict=True)) == [
        (i, j, degree(src, held[src, dst]), degree(dst, held[src, dst]))
        for i, src in enumerate(left)
        for j, dst in enumerate(right)
        if (src, dst) in held
    ]


@pytest.mark.parametrize("lookup", Lookup)
@pytest.mark.parametrize("cache_bytes", [0, 400])
def test_what_is_kept_in_memory_is_bounded(lookup: Lookup, cache_bytes: int, tmp_path: Path) -> None:
    edges = [(n, n + 1, "ppi", "ppi") for n in range(20)]
    store = build(tmp_path, edges, lookup, cache_bytes, buckets=5)
    for _ in range(2):
        for node in range(2, 19):
            assert store.hop(node, 2).tolist() == [node - 2, node + 2]
            kept = [array for values in (store._hops, store._buckets) for each in values.values() for array in each]
            assert sum(array.nbytes for array in kept) <= cache_bytes
    assert bool(kept) == bool(cache_bytes)


@pytest.mark.parametrize("node", [-1, 0, 15, 100, 2**31 - 1])
def test_an_unknown_node(node: int, store: GraphStore) -> None:
    for ask in (store.name, store.type, store.degree):
        with pytest.raises(KeyError):
            ask(node)
    for distance in (0, 1, 2):
        with pytest.raises(KeyError):
            store.hop(node, distance)
    with pytest.raises(KeyError):
        store.relations(10, node)


def test_it_travels(store: GraphStore) -> None:
    assert pickle.loads(pickle.dumps(store)).hop(10, 2).tolist() == [30]


def test_a_folder_without_its_manifest_is_refused(store: GraphStore, tmp_path: Path) -> None:
    (tmp_path / "graph" / MANIFEST).unlink()
    for name in ("graph", "nowhere"):
        with pytest.raises(GraphError, match=r"_manifest.json is missing[\s\S]*jobs/build_neighborhoods.py"):
            GraphStore.open(GraphConfig(uri=str(tmp_path / name)))


@pytest.mark.parametrize("left", [None, 0, 100])
def test_an_adjacency_that_is_not_whole_is_refused(left: int | None, store: GraphStore, tmp_path: Path) -> None:
    path = tmp_path / "graph" / "adjacency" / "indices.npy"
    content = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(content[:left])
    with pytest.raises(GraphError, match=r"the adjacency cannot be read[\s\S]*indices\.npy"):
        GraphStore.open(GraphConfig(uri=str(tmp_path / "graph")))


@pytest.mark.parametrize(
    ("key", "value", "what"), [("schemas", {"nodes": "old"}, "other schemas"), ("pairs", 5, "its manifest says")]
)
def test_a_manifest_that_does_not_fit_is_refused(
    key: str, value: object, what: str, store: GraphStore, tmp_path: Path
) -> None:
    path = tmp_path / "graph" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(GraphError, match=what):
        GraphStore.open(GraphConfig(uri=str(tmp_path / "graph")))


@pytest.mark.s3
def test_on_s3(s3: S3Server, tmp_path: Path) -> None:
    from dataclasses import replace

    uri = f"{s3.new_bucket()}/graph"
    (tmp_path / "kg.csv").write_bytes(to_csv(row(edge) for edge in EDGES))
    config = plan(tmp_path / "kg.csv", tmp_path)
    config = replace(config, graph=replace(config.graph, uri=uri), storage=s3.storage)
    assert [build_neighborhoods(config).built for _ in range(2)] == [True, False]
    for lookup in Lookup:
        store = GraphStore.open(GraphConfig(uri=uri, lookup=lookup), s3.storage)
        assert [hop.tolist() for hop in all_hops(store, 20)] == [[20], [10, 30], [40]]
