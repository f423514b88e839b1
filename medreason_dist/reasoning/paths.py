"""Shortest paths between question and answer entities, by meeting in the middle of two neighborhoods.

With neighborhoods of radius k, a pair at distance d ≤ 2k has a middle layer: the nodes at half of d from the source and at
the rest of d from the target, one intersection of two sorted lists. From it the shortest-path DAG is unfolded
backward to the source and forward to the target by intersecting hop 1 of its nodes with the hop lists of the two ends.
Paths are counted on the DAG before any is written out, so that a pair of hubs with millions of them costs no more.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from medreason_dist.reasoning.records import Path, PathGroup

Nodes = npt.NDArray[np.int32]


class Graph(Protocol):
    """What the program sees of the knowledge graph; :class:`medreason_dist.graph.store.GraphStore` is one."""

    radius: int

    def name(self, node: int) -> str:
        """Returns a node's name."""

    def type(self, node: int) -> str:
        """Returns a node's type."""

    def degree(self, node: int) -> int:
        """Returns a node's number of distinct neighbors."""

    def hop(self, node: int, distance: int) -> Nodes:
        """Returns the sorted nodes at exactly this distance, from 0 to ``radius``."""

    def relations(self, src: int, dst: int) -> tuple[str, ...]:
        """Returns, sorted, the display relations between two neighbors."""


def find_paths(graph: Graph, source: int, target: int, limit: int, seed: int) -> PathGroup | None:
    """Returns the shortest paths of a pair, or None where they are farther apart than ``2 * graph.radius`` or the same.

    At most ``limit`` of them are written out; of more, a uniform sample without repetition that depends on ``seed``
    alone. They are ranked by :func:`hub_penalty`, the least first.
    """
    distance = _distance(graph, source, target)
    if not distance:
        return None
    successors = _unfold(graph, source, target, distance)
    counts = _count_paths(successors, source, target)
    total = counts[source]
    if total <= limit:
        numbers: Sequence[int] = range(total)
    else:
        numbers = random.Random(seed).sample(range(total), limit)
    found = [_write_out(number, source, target, successors, counts) for number in numbers]
    ranked = sorted(found, key=lambda nodes: (hub_penalty(graph, nodes), nodes))
    return PathGroup(source, target, total, tuple(Path(nodes, rank) for rank, nodes in enumerate(ranked, 1)))


def hub_penalty(graph: Graph, nodes: Sequence[int]) -> float:
    """Returns the sum of log degree over a path's inner nodes: paths through hubs say little."""
    return sum(math.log(graph.degree(node)) for node in nodes[1:-1])


def find_groups(
    graph: Graph, sources: Sequence[int], targets: Sequence[int], limit: int, max_pairs: int, seed: int
) -> list[PathGroup]:
    """Returns the path groups of all pairs within the bound, nearest first, at most ``max_pairs`` of them."""
    pairs = itertools.product(sources, targets)
    groups = [g for s, t in pairs if (g := find_paths(graph, s, t, limit, seed ^ hash_pair(s, t))) is not None]
    return sorted(groups, key=lambda group: (group.length, group.source, group.target))[:max_pairs]


def hash_pair(source: int, target: int) -> int:
    """Returns a number that differs between the pairs of one question, the same in every process."""
    return (source * 2_654_435_761 + target) & 0x7FFFFFFF


def describe_path(graph: Graph, nodes: Sequence[int]) -> str:
    """Returns a path as text: ``metformin (drug) —[indication]→ type 2 diabetes mellitus (disease)``."""
    first, *rest = (describe_node(graph, node) for node in nodes)
    hops = zip(hop_relations(graph, nodes), rest, strict=True)
    return " ".join([first, *(f"—[{relations}]→ {node}" for relations, node in hops)])


def describe_node(graph: Graph, node: int) -> str:
    """Returns a node as text: ``metformin (drug)``."""
    return f"{graph.name(node)} ({graph.type(node)})"


def hop_relations(graph: Graph, nodes: Sequence[int]) -> list[str]:
    """Returns, for each hop, the relations that hold between its nodes, joined by `` | ``."""
    return [" | ".join(graph.relations(src, dst)) for src, dst in itertools.pairwise(nodes)]


def path_row(graph: Graph, path: Path) -> dict[str, Any]:
    """Returns a path as one entry of the ``paths`` column."""
    return {
        "nodes": list(path.nodes),
        "names": [graph.name(node) for node in path.nodes],
        "relations": hop_relations(graph, path.nodes),
        "rank": path.rank,
        "reason": path.reason,
    }


def _distance(graph: Graph, source: int, target: int) -> int | None:
    for distance in range(2 * graph.radius + 1):
        if _middle_layer(graph, source, target, distance).size:
            return distance
    return None


def _middle_layer(graph: Graph, source: int, target: int, distance: int) -> Nodes:
    # Half the way from either end: the second hop of a hub is a thousand times its first.
    near = (distance + 1) // 2
    return _intersect(graph.hop(source, near), graph.hop(target, distance - near))


def _unfold(graph: Graph, source: int, target: int, distance: int) -> dict[int, list[int]]:
    """Returns the successors, on shortest paths, of every node of the DAG but the target."""
    middle = (distance + 1) // 2
    layer = _middle_layer(graph, source, target, distance).tolist()
    successors: dict[int, list[int]] = {}
    frontier = layer
    for remaining in range(distance - middle, 0, -1):
        nearer = graph.hop(target, remaining - 1)
        for node in frontier:
            successors[node] = _intersect(graph.hop(node, 1), nearer).tolist()
        frontier = sorted({child for node in frontier for child in successors[node]})
    frontier = layer
    for hop in range(middle, 0, -1):
        nearer = graph.hop(source, hop - 1)
        parents: dict[int, list[int]] = {}
        for node in frontier:
            for parent in _intersect(graph.hop(node, 1), nearer).tolist():
                parents.setdefault(parent, []).append(node)
        successors.update(parents)
        frontier = sorted(parents)
    return successors


def _count_paths(successors: dict[int, list[int]], source: int, target: int) -> dict[int, int]:
    counts = {target: 1}

    def count(node: int) -> int:
        if node not in counts:
            counts[node] = sum(count(child) for child in successors[node])
        return counts[node]

    count(source)
    return counts


def _write_out(
    number: int, source: int, target: int, successors: dict[int, list[int]], counts: dict[int, int]
) -> tuple[int, ...]:
    """Returns path ``number`` in lexicographic order of node indexes."""
    nodes = [source]
    while nodes[-1] != target:
        for child in successors[nodes[-1]]:
            if number < counts[child]:
                nodes.append(child)
                break
            number -= counts[child]
    return tuple(nodes)


def _intersect(left: Nodes, right: Nodes) -> Nodes:
    return np.intersect1d(left, right, assume_unique=True)
