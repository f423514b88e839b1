"""``neighborhoods.engine=local``: a process pool on this machine. The same kernel as Spark's tasks, and no Java."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from medreason_dist.config import Config
from medreason_dist.graph.adjacency import Adjacency
from medreason_dist.graph.buckets import split_by_bucket, write_bucket
from medreason_dist.graph.engine import Engine
from medreason_dist.graph.primekg import KnowledgeGraph, parse_source
from medreason_dist.graph.source import Source
from medreason_dist.storage import Folder

_adjacency: Adjacency
"""Set once in each process of the pool, so that the arrays travel once and not with every bucket."""


def parse(config: Config, source: Source) -> KnowledgeGraph:
    """Returns the graph of ``graph.source``; see :func:`~medreason_dist.graph.primekg.parse_source`."""
    return parse_source(source, config.graph.wrong_rows_limit)


def expand(config: Config, adjacency: Adjacency, seeds: NDArray[np.intp], folder: Folder) -> dict[int, int]:
    """Writes the neighborhoods of ``seeds`` (positions) into ``neighborhoods/bucket=<n>/`` of ``folder``.

    Returns the number of nodes in all rows, by hop.
    """
    buckets = split_by_bucket(adjacency, seeds, config.neighborhoods.buckets)
    write = partial(_write_bucket, folder, config.neighborhoods.radius)
    processes = min(config.neighborhoods.processes or os.cpu_count() or 1, len(buckets))
    none = np.zeros(config.neighborhoods.radius, dtype=np.int64)
    if processes <= 1:
        _set_adjacency(adjacency)
        entries = sum(itertools.starmap(write, buckets.items()), start=none)
    else:
        # Forking a process that runs threads, as pyarrow does, may deadlock the child.
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, spawn, initializer=_set_adjacency, initargs=(adjacency,)) as pool:
            entries = sum(pool.map(write, buckets.keys(), buckets.values()), start=none)
    return dict(enumerate(entries.tolist(), start=1))


def summarise(adjacency: Adjacency, _: Folder) -> dict[str, Any]:
    """Returns ``degree`` and ``components`` of the graph."""
    degree = np.diff(adjacency.indptr)
    arrays = np.ones(len(adjacency.indices), dtype=np.int8), adjacency.indices, adjacency.indptr
    _, labels = connected_components(csr_array(arrays, shape=(len(degree), len(degree))), directed=False)
    sizes, counts = np.unique(np.bincount(labels), return_counts=True)
    by_size = {str(size): count for size, count in zip(sizes.tolist(), counts.tolist(), strict=True)}
    return {
        "degree": {"max": int(degree.max()), "mean": round(float(degree.mean()), 3)},
        "components": {"count": int(counts.sum()), "largest": int(sizes[-1]), "by_size": by_size},
    }


ENGINE: Final = Engine(parse, expand, summarise, {"scipy": version("scipy")})


def _set_adjacency(adjacency: Adjacency) -> None:
    global _adjacency  # noqa: PLW0603
    _adjacency = adjacency


def _write_bucket(folder: Folder, radius: int, bucket: int, seeds: NDArray[np.intp]) -> NDArray[np.int64]:
    return write_bucket(folder, _adjacency, radius, bucket, seeds)
