from __future__ import annotations

import itertools
import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medreason_dist.reasoning.paths import MOST_PATHS, describe_path, find_groups, find_paths
from tests.reasoning.conftest import MemoryGraph

EDGE_LISTS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda e: e[0] != e[1]), max_size=40)


def graph_of(edges: list[tuple[int, int]], radius: int) -> MemoryGraph:
    return MemoryGraph({n: (f"n{n}", "disease") for n in range(12)}, [(s, t, "r") for s, t in edges], radius)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(EDGE_LISTS, st.integers(1, 3))
def test_path_sets_equal_networkx_pair_by_pair(edges: list[tuple[int, int]], radius: int) -> None:
    graph = graph_of(edges, radius)
    for source, target in itertools.permutations(range(12), 2):
        group = find_paths(graph, source, target, limit=10_000)
        try:
            expected = {tuple(path) for path in nx.all_shortest_paths(graph.nx, source, target)}
        except nx.NetworkXNoPath:
            expected = set()
        if expected and len(next(iter(expected))) - 1 > 2 * radius:
            expected = set()
        found = [path.nodes for path in group.candidates] if group else []
        assert (set(found), len(found)) == (expected, len(expected))
        assert (group.count if group else 0) == len(expected)


def wide_graph(width: int) -> MemoryGraph:
    """Source 0, target 1, and ``width`` × ``width`` shortest paths of length 3 between them."""
    left, right = range(2, 2 + width), range(2 + width, 2 + 2 * width)
    edges = [(0, n, "r") for n in left] + [(n, 1, "r") for n in right]
    edges += [(a, b, "r") for a in left for b in right]
    return MemoryGraph({n: (f"n{n}", "disease") for n in range(2 + 2 * width)}, edges)


def cost(graph: MemoryGraph, nodes: tuple[int, ...]) -> float:
    """The negative logarithm of the path degree product, hop by hop."""
    ends = itertools.chain.from_iterable([(hop, hop[::-1]) for hop in itertools.pairwise(nodes)])
    return 0.4 * sum(math.log(graph.degree_by(*end)) for end in ends)


def test_of_millions_the_first_are_counted_and_taken_without_writing_out_the_rest() -> None:
    graph = wide_graph(40)
    group = find_paths(graph, 0, 1, limit=50)
    assert group is not None
    assert group.count == 1600
    # All cost the same, so that the order is that of the nodes.
    assert [path.nodes for path in group.candidates] == [(0, 2 + n // 40, 42 + n % 40, 1) for n in range(50)]
    assert [path.rank for path in group.candidates] == list(range(1, 51))


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(EDGE_LISTS, st.integers(1, 6))
def test_the_best_are_those_that_cost_least(edges: list[tuple[int, int]], limit: int) -> None:
    graph = MemoryGraph(
        {n: (f"n{n}", "disease") for n in range(12)}, [(s, t, f"r{(s * t) % 3}") for s, t in edges], radius=3
    )
    for source, target in itertools.permutations(range(12), 2):
        if source not in graph.nx or not nx.has_path(graph.nx, source, target):
            continue
        paths = [tuple(path) for path in nx.all_shortest_paths(graph.nx, source, target)]
        group = find_paths(graph, source, target, limit)
        if len(paths[0]) - 1 > 6:
            assert group is None
            continue
        expected = sorted(paths, key=lambda nodes: (round(cost(graph, nodes), 9), nodes))[:limit]
        assert group is not None
        assert [path.nodes for path in group.candidates] == expected


def test_a_hub_counts_by_the_relation_that_the_path_takes() -> None:
    nodes = {n: (f"n{n}", "disease") for n in range(24)}
    # 2 is a hub by another relation than the path's, 3 a small hub by the path's own.
    others = [(2, n, "other") for n in range(4, 20)] + [(3, n, "r") for n in range(20, 24)]
    graph = MemoryGraph(nodes, [(0, 2, "r"), (2, 1, "r"), (0, 3, "r"), (3, 1, "r"), *others])
    group = find_paths(graph, 0, 1, limit=10)
    assert group is not None
    assert [(path.nodes, path.rank) for path in group.candidates] == [((0, 2, 1), 1), ((0, 3, 1), 2)]
    assert graph.degree_by(2, 0) == 2


@pytest.mark.slow
def test_a_count_beyond_64_bits_is_given_as_the_most() -> None:
    class Steps:
        """Eight layers of 2 ** 10 nodes each, all joined to all of the next."""

        radius = 4
        width = 2**10

        def hop(self, node: int, distance: int) -> Any:
            layer = distance if node == 0 else 8 - distance
            if layer in (0, 8):
                return np.array([layer * self.width], dtype=np.int32)
            return np.arange(layer * self.width, (layer + 1) * self.width, dtype=np.int32)

        def edges_between(self, left: Any, right: Any) -> tuple[Any, Any, Any, Any]:
            ends = np.repeat(np.arange(len(left)), len(right)), np.tile(np.arange(len(right)), len(left))
            return *ends, np.ones(len(ends[0])), np.ones(len(ends[0]))

    group = find_paths(Steps(), 0, 8 * 2**10, limit=1)  # type: ignore[arg-type]
    assert group is not None
    assert group.count == MOST_PATHS


def test_same_node_and_farther_than_the_bound_are_no_pair() -> None:
    line = graph_of([(n, n + 1) for n in range(11)], radius=2)
    assert find_paths(line, 3, 3, 10) is None
    assert find_paths(line, 0, 5, 10) is None
    group = find_paths(line, 0, 4, 10)
    assert group is not None
    assert group.candidates[0].nodes == (0, 1, 2, 3, 4)


def test_groups_come_nearest_first_and_are_limited() -> None:
    line = graph_of([(n, n + 1) for n in range(11)], radius=2)
    groups = find_groups(line, [0, 2], [3, 4, 11], limit=5, max_pairs=2)
    assert [(group.source, group.target, group.length) for group in groups] == [(2, 3, 1), (2, 4, 2)]


def test_a_path_is_described_with_types_and_all_relations(graph: MemoryGraph) -> None:
    assert describe_path(graph, (2, 0, 1)) == (
        "PRKAA1 (gene/protein) —[target]→ metformin (drug) —[indication | off-label use]→ type 2 diabetes mellitus (disease)"
    )
