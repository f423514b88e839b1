"""Shortest paths between question and answer entities, by meeting in the middle of two neighborhoods.

With neighborhoods of radius k, a pair at distance d ≤ 2k has a middle layer: the nodes at half of d from the source and at
the rest of d from the target, one intersection of two sorted lists. From it the layers of the shortest-path DAG follow to
both ends. Paths are counted on the DAG and the best of them taken from it, so that a pair of hubs with millions of them
costs no more than its edges.

Candidates are ranked by the path degree product of Himmelstein & Baranzini (PLoS Comput Biol 11:e1004259, 2015): a hop
from u to v weighs d_u^-w · d_v^-w, where d counts the node's neighbors by the hop's own relations and w is 0.4, their
choice. A path through «protein binding» or a drug with two thousand interactions says little; one through the few
indications of the same drug does. :func:`find_paths` works with its negative logarithm, which adds up over the hops.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from medreason_dist.reasoning.records import Path, PathGroup

Nodes = npt.NDArray[np.int32]
Indices = npt.NDArray[np.intp]
Costs = npt.NDArray[np.float64]

DAMPING = 0.4
MOST_PATHS = 2**63 - 1
"""What a count of paths that exceeds it is given as."""


class Edges(NamedTuple):
    """The edges between two sets of nodes, ordered by ``left`` and then ``right``, which are indexes into them."""

    left: Indices
    right: Indices
    left_degrees: npt.NDArray[np.int64]
    """For each edge, the neighbors that its left node has by one of the edge's relations."""
    right_degrees: npt.NDArray[np.int64]

    @property
    def costs(self) -> Costs:
        """The negative logarithm of each edge's part of the path degree product."""
        return DAMPING * np.log(self.left_degrees.astype(np.float64) * self.right_degrees)


class Graph(Protocol):
    """What the program sees of the knowledge graph; :class:`medreason_dist.graph.store.GraphStore` is one."""

    radius: int

    def name(self, node: int) -> str:
        """Returns a node's name."""

    def type(self, node: int) -> str:
        """Returns a node's type."""

    def hop(self, node: int, distance: int) -> Nodes:
        """Returns the sorted nodes at exactly this distance, from 0 to ``radius``."""

    def edges_between(self, left: Nodes, right: Nodes) -> tuple[Any, Any, Any, Any]:
        """Returns the four arrays of :class:`Edges` for two sorted sets of nodes."""

    def relations(self, src: int, dst: int) -> tuple[str, ...]:
        """Returns, sorted, the display relations between two nodes; none where they are not neighbors."""


def find_distance(graph: Graph, source: int, target: int) -> int | None:
    """Returns the shortest distance of a pair, or None where it exceeds ``2 * graph.radius``."""
    for distance in range(2 * graph.radius + 1):
        if _middle_layer(graph, source, target, distance).size:
            return distance
    return None


def find_paths(graph: Graph, source: int, target: int, limit: int) -> PathGroup | None:
    """Returns the shortest paths of a pair, or None where they are farther apart than ``2 * graph.radius`` or the same.

    At most ``limit`` of them are written out: the best by the path degree product, ranked from 1; ties by node indexes.
    """
    distance = find_distance(graph, source, target)
    if not distance:
        return None
    layers, edges = _unfold(graph, source, target, distance)
    return PathGroup(
        source,
        target,
        count=_count_paths(layers, edges),
        candidates=tuple(Path(nodes, rank) for rank, nodes in enumerate(_best_paths(layers, edges, limit), 1)),
    )


def find_groups(
    graph: Graph, sources: Sequence[int], targets: Sequence[int], limit: int, max_pairs: int
) -> list[PathGroup]:
    """Returns the path groups of the pairs within the bound, nearest first, at most ``max_pairs`` of them."""
    distances = [(find_distance(graph, s, t), s, t) for s, t in itertools.product(sources, targets)]
    nearest = sorted((distance, s, t) for distance, s, t in distances if distance)[:max_pairs]
    groups = (find_paths(graph, s, t, limit) for _, s, t in nearest)
    return [group for group in groups if group is not None]


def describe_path(graph: Graph, nodes: Sequence[int]) -> str:
    """Returns a path as text: ``metformin (drug) —[indication]→ type 2 diabetes mellitus (disease)``."""
    first, *rest = (describe_node(graph, node) for node in nodes)
    hops = zip(hop_relations(graph, nodes), rest, strict=True)
    return " ".join([first, *(f"—[{relations}]→ {node}" for relations, node in hops)])


def describe_node(graph: Graph, node: int) -> str:
    """Returns a node as text: ``metformin (drug)``."""
    return f"{describe_name(graph, node)} ({graph.type(node)})"


def describe_name(graph: Graph, node: int) -> str:
    """Returns a node's name as one line of text."""
    return " ".join(graph.name(node).splitlines())


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


def _middle_layer(graph: Graph, source: int, target: int, distance: int) -> Nodes:
    # Half the way from either end: the second hop of a hub is a thousand times its first.
    near = (distance + 1) // 2
    return np.intersect1d(graph.hop(source, near), graph.hop(target, distance - near), assume_unique=True)


def _unfold(graph: Graph, source: int, target: int, distance: int) -> tuple[list[Nodes], list[Edges]]:
    """Returns the layers of the shortest-path DAG, source first, and the edges between each two that follow."""
    middle = (distance + 1) // 2
    layers = [_middle_layer(graph, source, target, distance)]
    edges: list[Edges] = []
    for hop in range(middle - 1, -1, -1):
        nearer = graph.hop(source, hop)
        between = Edges(*graph.edges_between(nearer, layers[0]))
        kept, left = np.unique(between.left, return_inverse=True)
        layers.insert(0, nearer[kept])
        edges.insert(0, between._replace(left=left))
    for remaining in range(distance - middle - 1, -1, -1):
        nearer = graph.hop(target, remaining)
        between = Edges(*graph.edges_between(layers[-1], nearer))
        kept, right = np.unique(between.right, return_inverse=True)
        layers.append(nearer[kept])
        edges.append(between._replace(right=right))
    return layers, edges


def _count_paths(layers: Sequence[Nodes], edges: Sequence[Edges]) -> int:
    counts: npt.NDArray[np.int64] = np.ones(1, dtype=np.int64)
    # Integers wrap around unseen; the floats tell where.
    rough: Costs = np.ones(1)
    for layer, between in zip(reversed(layers[:-1]), reversed(edges), strict=True):
        exact = np.zeros(len(layer), dtype=np.int64)
        np.add.at(exact, between.left, counts[between.right])
        rough = np.bincount(between.left, rough[between.right], len(layer)).astype(np.float64)
        counts = exact
    return int(counts[0]) if rough[0] < MOST_PATHS / 2 else MOST_PATHS


def _best_paths(layers: Sequence[Nodes], edges: Sequence[Edges], limit: int) -> list[tuple[int, ...]]:
    """Returns up to ``limit`` paths, the least cost first, by best-first search with the exact cost of the rest."""
    costs = [between.costs for between in edges]
    rest = [np.zeros(1)]
    for layer, between, cost in zip(reversed(layers[:-1]), reversed(edges), reversed(costs), strict=True):
        least = np.full(len(layer), np.inf)
        np.minimum.at(least, between.left, cost + rest[0][between.right])
        rest.insert(0, least)
    found: list[tuple[int, ...]] = []
    heap: list[tuple[float, tuple[int, ...], int, float]] = [(float(rest[0][0]), (int(layers[0][0]),), 0, 0.0)]
    while heap and len(found) < limit:
        _, nodes, index, spent = heapq.heappop(heap)
        step = len(nodes) - 1
        if step == len(edges):
            found.append(nodes)
            continue
        first, last = np.searchsorted(edges[step].left, [index, index + 1])
        children = edges[step].right[first:last]
        paid = spent + costs[step][first:last]
        # Rounded, so that equal costs which were added up in another order stay equal.
        bounds = np.round(paid + rest[step + 1][children], 9)
        for child in np.lexsort((children, bounds))[:limit].tolist():
            number = int(children[child])
            longer = (*nodes, int(layers[step + 1][number]))
            heapq.heappush(heap, (float(bounds[child]), longer, number, float(paid[child])))
    return found
