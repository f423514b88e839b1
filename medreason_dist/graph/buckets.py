"""The stored neighborhoods: one file ``neighborhoods/bucket=<n>/part-0.parquet`` for the seeds of a bucket.

A bucket is what one task makes, on this machine or on Spark: written whole under its final name, so that a task that
runs twice leaves the same file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medreason_dist.graph.adjacency import Adjacency, build_neighborhoods_batch
from medreason_dist.schemas import NEIGHBORHOODS
from medreason_dist.storage import Folder

SEEDS_A_BATCH: Final = 512
"""Seeds whose rows are one Arrow batch: about 9 MB at PrimeKG's size and radius 2."""

ENCODING: Final = {
    "use_dictionary": False,
    "column_encoding": {"seed": "DELTA_BINARY_PACKED", "nodes.list.element": "DELTA_BINARY_PACKED"},
}
"""Sorted lists are small steps: 0.22 bytes an entry instead of 1.75 at PrimeKG's size, written in a third of the time."""


def split_by_bucket(adjacency: Adjacency, seeds: NDArray[np.intp], buckets: int) -> dict[int, NDArray[np.intp]]:
    """Returns the seeds (positions) of every bucket that has any: ``node_index mod buckets``."""
    bucket = adjacency.node_index[seeds] % buckets
    return {number: seeds[bucket == number] for number in np.unique(bucket).tolist()}


def write_bucket(
    folder: Folder, adjacency: Adjacency, radius: int, bucket: int, seeds: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Writes the rows of a bucket's seeds (positions) and returns how many nodes they hold at each hop, from 1."""
    table = pa.Table.from_batches(_build_batches(adjacency, seeds, radius), NEIGHBORHOODS)
    folder.write_table(f"neighborhoods/bucket={bucket}/part-0.parquet", table, **ENCODING)
    lengths = table["nodes"].combine_chunks().value_lengths().to_numpy()
    return np.bincount(table["hop"].to_numpy() - 1, weights=lengths, minlength=radius).astype(np.int64)


def _build_batches(adjacency: Adjacency, seeds: NDArray[np.intp], radius: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(seeds), SEEDS_A_BATCH):
        yield build_neighborhoods_batch(adjacency, seeds[start : start + SEEDS_A_BATCH], radius)
