"""The shortest paths of random pairs, compared with networkx: ``python -m benchmarks.paths GRAPH [SOURCES] [TARGETS]``.

GRAPH is a finished graph folder. Each of SOURCES random nodes is paired with TARGETS random nodes (default 100 × 20), for
networkx needs seconds for the predecessors of one source at PrimeKG's size and next to nothing for a further target.
Exits with 1 where anything differs.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

# What all_shortest_paths does with the predecessors, which it finds anew for every pair.
from networkx.algorithms.shortest_paths.generic import _build_paths_from_predecessors as build_paths

from benchmarks.graph import read_graph
from medreason_dist.config import GraphConfig
from medreason_dist.graph.store import GraphStore
from medreason_dist.reasoning.paths import find_paths

WHOLE = 20_000
"""Paths of a pair up to which the two sets are compared; of more, their number, and the best ones hop by hop."""


def main(graph: str, sources: int, targets: int) -> None:
    """Compares and prints how many pairs of each kind were equal."""
    nodes = GraphStore.open(GraphConfig(uri=graph)).node_index.tolist()
    rng = np.random.default_rng(0)
    chosen = [(source, rng.choice(nodes, targets).tolist()) for source in rng.choice(nodes, sources).tolist()]
    total: Counter[str] = Counter()
    with ProcessPoolExecutor(2) as pool:
        for found in pool.map(partial(compare_source, graph), *zip(*chosen, strict=True)):
            total += found
    for kind, count in sorted(total.items()):
        print(f"{count:>8,}  {kind}")
    sys.exit(any(kind.startswith("DIFFERENT") for kind in total))


def compare_source(graph: str, source: int, targets: Sequence[int]) -> Counter[str]:
    """Compares the paths from one node of a graph folder to others."""
    store = open_store(graph)
    return compare_paths(store, nx.predecessor(open_networkx(graph), source), source, targets)


@cache
def open_store(graph: str) -> GraphStore:
    """Returns the graph, once a process."""
    return GraphStore.open(GraphConfig(uri=graph))


@cache
def open_networkx(graph: str) -> Any:
    """Returns the graph as networkx has it, once a process."""
    return read_graph(Path(graph))


def compare_paths(
    store: GraphStore, predecessors: Mapping[int, list[int]], source: int, targets: Iterable[int]
) -> Counter[str]:
    """Returns how many targets there are of each kind: distance, how it was compared, and whether it was equal."""
    counts = {source: 1}
    found: Counter[str] = Counter()
    for target in targets:
        if target == source:
            continue
        expected = count_paths(predecessors, counts, target)
        distance = measure_distance(predecessors, target) if expected else None
        if distance is None or distance > 2 * store.radius:
            equal = find_paths(store, source, target, limit=1) is None
            kind = "unconnected: none" if distance is None else f"distance {distance}: none within the bound"
        elif expected <= WHOLE:
            group = find_paths(store, source, target, limit=expected + 1)
            paths = [path.nodes for path in group.candidates] if group else []
            equal = sorted(paths) == sorted(map(tuple, build_paths({source}, target, predecessors)))
            kind = f"distance {distance}: same paths"
        else:
            group = find_paths(store, source, target, limit=WHOLE)
            paths = [path.nodes for path in group.candidates] if group else []
            hops = (hop for path in paths for hop in itertools.pairwise(path))
            equal = group is not None and group.count == expected and len(set(paths)) == WHOLE
            equal = equal and all(node in predecessors[after] for node, after in hops)
            kind = f"distance {distance}: same number, over {WHOLE:,}; the best ones are paths"
        found[kind if equal else f"DIFFERENT from {source} to {target}, {kind}"] += 1
    return found


def count_paths(predecessors: Mapping[int, list[int]], counts: dict[int, int], target: int) -> int:
    """Returns the number of shortest paths to a node; keeps those to all nodes on the way in ``counts``."""
    if target not in counts:
        counts[target] = sum(count_paths(predecessors, counts, node) for node in predecessors.get(target, []))
    return counts[target]


def measure_distance(predecessors: Mapping[int, list[int]], target: int) -> int:
    """Returns the number of hops to a node."""
    return 1 + measure_distance(predecessors, predecessors[target][0]) if predecessors[target] else 0


if __name__ == "__main__":
    sizes = [int(number) for number in sys.argv[2:]]
    main(sys.argv[1], *sizes, *(100, 20)[len(sizes) :])
