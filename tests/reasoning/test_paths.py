from __future__ import annotations

import itertools
import math

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from medreason_dist.reasoning.paths import describe_path, find_groups, find_paths, hub_penalty
from tests.reasoning.conftest import MemoryGraph

EDGE_LISTS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda e: e[0] != e[1]), max_size=40)


def graph_of(edges: list[tuple[int, int]], radius: int) -> MemoryGraph:
    return MemoryGraph({n: (f"n{n}", "disease") for n in range(12)}, [(s, t, "r") for s, t in edges], radius)


@settings(max_examples=150, deadline=None)
@given(EDGE_LISTS, st.integers(1, 3))
def test_path_sets_equal_networkx_pair_by_pair(edges: list[tuple[int, int]], radius: int) -> None:
    graph = graph_of(edges, radius)
    for source, target in itertools.permutations(range(12), 2):
        group = find_paths(graph, source, target, limit=10_000, seed=0)
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


def test_too_many_paths_are_sampled_without_repetition_and_by_the_seed() -> None:
    graph = wide_graph(40)
    samples = [find_paths(graph, 0, 1, limit=50, seed=seed) for seed in (7, 7, 8)]
    first, again, other = samples
    assert first is not None
    assert first.count == 1600
    assert len({path.nodes for path in first.candidates}) == 50
    assert first == again
    assert first != other
    assert all(graph.nx.has_edge(*hop) for path in first.candidates for hop in itertools.pairwise(path.nodes))


def test_the_sample_is_uniform_over_paths() -> None:
    graph = wide_graph(6)
    drawn = [find_paths(graph, 0, 1, limit=1, seed=seed) for seed in range(720)]
    counts = [sum(group is not None and group.candidates[0].nodes[1] == n for group in drawn) for n in range(2, 8)]
    expected, deviation = 120, math.sqrt(720 / 6 * 5 / 6)
    assert all(abs(count - expected) < 5 * deviation for count in counts)


def test_candidates_are_ranked_by_hub_penalty() -> None:
    nodes = {n: (f"n{n}", "disease") for n in range(20)}
    hub = [(2, n, "r") for n in range(4, 20)]
    graph = MemoryGraph(nodes, [(0, 2, "r"), (2, 1, "r"), (0, 3, "r"), (3, 1, "r"), *hub])
    group = find_paths(graph, 0, 1, limit=10, seed=0)
    assert group is not None
    assert [(path.nodes, path.rank) for path in group.candidates] == [((0, 3, 1), 1), ((0, 2, 1), 2)]
    assert hub_penalty(graph, (0, 3, 1)) == math.log(2)


def test_same_node_and_farther_than_the_bound_are_no_pair() -> None:
    line = graph_of([(n, n + 1) for n in range(11)], radius=2)
    assert find_paths(line, 3, 3, 10, 0) is None
    assert find_paths(line, 0, 5, 10, 0) is None
    group = find_paths(line, 0, 4, 10, 0)
    assert group is not None
    assert group.candidates[0].nodes == (0, 1, 2, 3, 4)


def test_groups_come_nearest_first_and_are_limited() -> None:
    line = graph_of([(n, n + 1) for n in range(11)], radius=2)
    groups = find_groups(line, [0, 2], [3, 4, 11], limit=5, max_pairs=2, seed=0)
    assert [(group.source, group.target, group.length) for group in groups] == [(2, 3, 1), (2, 4, 2)]


def test_a_path_is_described_with_types_and_all_relations(graph: MemoryGraph) -> None:
    assert describe_path(graph, (2, 0, 1)) == (
        "PRKAA1 (gene/protein) —[target]→ metformin (drug) —[indication | off-label use]→ type 2 diabetes mellitus (disease)"
    )
