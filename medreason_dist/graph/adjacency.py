"""The edges as compressed sparse rows with the relations that hold in each, and the neighborhoods made from them."""

from __future__ import annotations

import io
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medreason_dist.errors import GraphError
from medreason_dist.graph.khop import Ints, build_csr, khop
from medreason_dist.schemas import NEIGHBORHOODS
from medreason_dist.storage import Folder

FOLDER: Final = "adjacency"
ARRAYS: Final = ("node_index", "indptr", "indices", "relations", "degrees")


class Adjacency(NamedTuple):
    """An undirected graph in both directions. A position is an index into ``node_index``, which is sorted."""

    node_index: NDArray[np.int32]
    indptr: NDArray[np.int64]
    """One more than nodes. Position p has the neighbors ``indices[indptr[p]:indptr[p + 1]]``, ascending positions."""
    indices: NDArray[np.int32]
    relations: NDArray[np.int16]
    """As long as ``indices``: which of ``relation_sets`` holds."""
    degrees: NDArray[np.int32]
    """Of shape (nodes, relation sets): the neighbors that a node has by at least one relation of a set."""
    relation_sets: list[list[str]]
    """Every distinct set of display_relation values between two nodes; each sorted, and sorted among each other."""

    @property
    def size_bytes(self) -> int:
        """What a process that holds the arrays needs, in bytes."""
        return sum(a.nbytes for a in (self.node_index, self.indptr, self.indices, self.relations, self.degrees))


def build_adjacency(nodes: pa.Table, edges: pa.Table) -> Adjacency:
    """Returns the adjacency of tables with :data:`~medreason_dist.schemas.NODES` and EDGES, sorted as those say.

    Raises :class:`GraphError` for more than 32,767 distinct relation sets.
    """
    node_index = nodes["node_index"].to_numpy()
    src, dst = edges["src"].to_numpy(), edges["dst"].to_numpy()
    first = _first_of_pair(src, dst)
    positions = np.searchsorted(node_index, src[first]), np.searchsorted(node_index, dst[first])
    indptr, indices = build_csr(*positions, count=len(node_index))
    relations, relation_sets = _relation_sets(np.cumsum(first) - 1, len(indices), edges["display_relation"])
    degrees = _degrees_by_set(indptr, relations, relation_sets)
    return Adjacency(node_index, indptr, indices, relations, degrees, relation_sets)


def write_adjacency(folder: Folder, adjacency: Adjacency) -> None:
    """Writes the arrays as ``adjacency/<name>.npy``; the relation sets are the manifest's."""
    for name in ARRAYS:
        content = io.BytesIO()
        np.save(content, getattr(adjacency, name))
        folder.write(f"{FOLDER}/{name}.npy", content.getvalue())


def read_adjacency(folder: Folder, relation_sets: list[list[str]]) -> Adjacency:
    """Returns the adjacency of a graph folder: mapped into memory from a disk, where all processes share it, or read.

    Raises :class:`GraphError` where it is missing or damaged.
    """
    arrays = {}
    for name in ARRAYS:
        try:
            if folder.is_s3:
                arrays[name] = np.load(io.BytesIO(folder.read(f"{FOLDER}/{name}.npy")))
            else:
                arrays[name] = np.load(folder.path / FOLDER / f"{name}.npy", mmap_mode="r")
        except (FileNotFoundError, ValueError, EOFError) as error:
            what = f"the adjacency cannot be read: {error}"
            raise GraphError(what, f"{folder.uri}/{FOLDER}/{name}.npy", "delete the manifest and build anew") from None
    return Adjacency(**arrays, relation_sets=relation_sets)


def find_positions(node_index: NDArray[np.int32], wanted: Ints) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Returns the position of each wanted node in the sorted ``node_index``, and whether it is there at all."""
    positions = np.minimum(np.searchsorted(node_index, wanted), max(len(node_index) - 1, 0))
    found = node_index[positions] == wanted if len(node_index) else np.zeros(len(wanted), dtype=np.bool_)
    return positions, found


def build_neighborhoods_batch(adjacency: Adjacency, seeds: Ints, radius: int) -> pa.RecordBatch:
    """Returns the rows (:data:`~medreason_dist.schemas.NEIGHBORHOODS`) of the seeds, given as positions.

    One row for each seed and hop that has nodes, in the seeds' order, then by hop.
    """
    counts, found = khop(adjacency.indptr, adjacency.indices, seeds, radius)
    row, hop = np.nonzero(counts)
    nodes = pa.ListArray.from_arrays(_offsets(counts[row, hop]), pa.array(adjacency.node_index[found]))
    columns = {
        "seed": pa.array(adjacency.node_index[seeds[row]]),
        "hop": pa.array((hop + 1).astype(np.int8)),
        "nodes": nodes,
        "relations": _relations_at_hop_1(adjacency, seeds, counts[row, 0], hop),
    }
    return pa.record_batch([columns[name].cast(NEIGHBORHOODS.field(name).type) for name in columns], NEIGHBORHOODS)


def _relations_at_hop_1(
    adjacency: Adjacency, seeds: Ints, degrees: NDArray[np.int64], hop: NDArray[np.intp]
) -> pa.ListArray:
    """Returns one list for each row: at the first hop (0) as long as ``degrees`` says, null beyond."""
    starts, stops = adjacency.indptr[seeds].tolist(), adjacency.indptr[seeds + 1].tolist()
    parts = [adjacency.relations[start:stop] for start, stop in zip(starts, stops, strict=True)]
    values = np.concatenate([np.empty(0, dtype=np.int16), *parts])
    return pa.ListArray.from_arrays(_offsets(np.where(hop == 0, degrees, 0)), pa.array(values), mask=pa.array(hop != 0))


def _offsets(lengths: Ints) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))


def _first_of_pair(src: Ints, dst: Ints) -> NDArray[np.bool_]:
    first = np.ones(len(src), dtype=np.bool_)
    first[1:] = (src[1:] != src[:-1]) | (dst[1:] != dst[:-1])
    return first


def _degrees_by_set(
    indptr: NDArray[np.int64], relations: NDArray[np.int16], relation_sets: list[list[str]]
) -> NDArray[np.int32]:
    nodes, sets = len(indptr) - 1, len(relation_sets)
    node = np.repeat(np.arange(nodes), np.diff(indptr))
    held = np.bincount(node * sets + relations, minlength=nodes * sets).reshape(nodes, sets).astype(np.int32)
    names = [set(names) for names in relation_sets]
    share = np.array([[bool(one & other) for other in names] for one in names], dtype=np.int32).reshape(sets, sets)
    return held @ share


def _relation_sets(pair: Ints, pairs: int, display_relation: Any) -> tuple[NDArray[np.int16], list[list[str]]]:
    """Returns which relation set each of the ``pairs`` has, and the sets. ``pair`` numbers the edges' pairs from 0."""
    encoded = pc.dictionary_encode(display_relation).combine_chunks()
    names = sorted(encoded.dictionary.to_pylist())
    rank = np.array([names.index(name) for name in encoded.dictionary.to_pylist()], dtype=np.int64)
    codes = rank[encoded.indices.to_numpy()] if len(encoded) else np.empty(0, dtype=np.int64)
    # One number an edge, so that a sort brings each pair's values together, in order and once.
    keys = np.unique(pair * max(len(names), 1) + codes)
    per_pair = np.bincount(keys // max(len(names), 1), minlength=pairs)
    values = pa.array(keys % max(len(names), 1)).cast(pa.string())
    sets = pc.binary_join(pa.ListArray.from_arrays(_offsets(per_pair), values), ",").dictionary_encode()
    distinct = [[int(code) for code in text.split(",")] for text in sets.dictionary.to_pylist()]
    if len(distinct) > np.iinfo(np.int16).max:
        raise GraphError(f"the edges have {len(distinct)} distinct sets of relations; at most 32,767 can be numbered")
    order = sorted(range(len(distinct)), key=distinct.__getitem__)
    number = np.empty(len(distinct), dtype=np.int16)
    number[order] = np.arange(len(distinct), dtype=np.int16)
    return number[sets.indices.to_numpy()], [[names[code] for code in distinct[i]] for i in order]
