"""The kernel against networkx, and on the shapes that break frontier kernels."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medreason_dist.graph.khop import build_csr, khop
from tests.graph.small import ints

Pairs = set[tuple[int, int]]


def expand(pairs: Pairs, count: int, seeds: list[int], radius: int) -> list[list[list[int]]]:
    """Seed by seed, hop by hop, as lists."""
    both = sorted(pairs | {(b, a) for a, b in pairs})
    indptr, indices = build_csr(ints(a for a, _ in both), ints(b for _, b in both), count)
    counts, nodes = khop(indptr, indices, ints(seeds), radius)
    assert [str(array.dtype) for array in (indptr, indices, nodes)] == ["int64", "int32", "int32"]
    assert counts.sum() == len(nodes)
    parts = [part.tolist() for part in np.split(nodes, np.cumsum(counts.ravel())[:-1])]
    return [parts[row * radius : (row + 1) * radius] for row in range(len(seeds))]


@pytest.mark.slow
@given(
    st.integers(1, 30).flatmap(
        lambda count: st.tuples(
            st.just(count),
            st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda p: p[0] != p[1])),
        )
    ),
    st.integers(1, 5),
)
def test_hops_are_networkx_distances(graph: tuple[int, Pairs], radius: int) -> None:
    count, pairs = graph
    oracle = nx.Graph(pairs)
    oracle.add_nodes_from(range(count))
    for seed, hops in enumerate(expand(pairs, count, list(range(count)), radius)):
        distance = nx.single_source_shortest_path_length(oracle, seed, cutoff=radius)
        assert hops == [sorted(n for n, d in distance.items() if d == hop) for hop in range(1, radius + 1)]


def test_the_same_seed_twice_and_no_seed() -> None:
    path = {(0, 1), (1, 2), (2, 3)}
    assert expand(path, 4, [0, 0, 3], 2) == [[[1], [2]], [[1], [2]], [[2], [1]]]
    assert expand(path, 4, [], 2) == []


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_a_hub_reaches_all_and_a_lone_node_none(radius: int) -> None:
    star = {(0, leaf) for leaf in range(1, 50)}
    hub, leaf, lone = expand(star, 51, [0, 7, 50], radius)
    assert hub == [list(range(1, 50)), [], []][:radius]
    assert leaf == [[0], [n for n in range(1, 50) if n != 7], []][:radius]
    assert lone == [[], [], []][:radius]
