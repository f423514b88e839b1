"""The kernel: exact hop lists on compressed sparse rows. numpy only, no I/O."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]


def build_csr(src: Ints, dst: Ints, count: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Returns ``(indptr, indices)`` of distinct pairs of positions, sorted by src and then dst.

    ``src`` and ``dst`` have one entry a pair, in [0, count). The neighbors of position p are
    ``indices[indptr[p]:indptr[p + 1]]``, ascending.
    """
    indptr = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(src, minlength=count), out=indptr[1:])
    return indptr, dst.astype(np.int32)


def khop(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], seeds: Ints, radius: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Returns the nodes around every seed by their exact distance.

    ``indptr`` (nodes + 1) and ``indices`` (edges) are an undirected graph in both directions, without self loops;
    ``seeds`` are positions. The result is ``(counts, nodes)``: counts[i, h - 1] is how many nodes have the shortest
    distance h from seeds[i], for h from 1 to ``radius``; nodes holds them all, seed by seed, hop by hop, ascending
    within a hop.
    """
    visited = np.zeros(len(indptr) - 1, dtype=np.bool_)
    reached = np.zeros_like(visited)
    counts = np.zeros((len(seeds), radius), dtype=np.int64)
    hops: list[NDArray[np.int32]] = []
    for row, seed in enumerate(seeds.tolist()):
        visited[seed] = True
        frontier = indices[indptr[seed] : indptr[seed + 1]]
        for hop in range(radius):
            if not len(frontier):
                break
            counts[row, hop] = len(frontier)
            hops.append(frontier)
            if hop + 1 < radius:
                visited[frontier] = True
                frontier = _next_frontier(indptr, indices, frontier, visited, reached)
        visited.fill(False)
    return counts, np.concatenate(hops) if hops else np.empty(0, dtype=np.int32)


def _next_frontier(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    frontier: NDArray[np.int32],
    visited: NDArray[np.bool_],
    reached: NDArray[np.bool_],
) -> NDArray[np.int32]:
    # Marking a byte for each edge beats sorting or hashing the gathered ends: hubs make them repeat 20 times over.
    starts, stops = indptr[frontier].tolist(), indptr[frontier + 1].tolist()
    reached[np.concatenate([indices[start:stop] for start, stop in zip(starts, stops, strict=True)])] = True
    np.greater(reached, visited, out=reached)
    found = np.flatnonzero(reached).astype(np.int32)
    reached.fill(False)
    return found
