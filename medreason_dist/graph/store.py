"""What the workers read: names, types, relations, hop lists of a published graph folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import cachetools
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medreason_dist.config import GraphConfig, Lookup, StorageConfig
from medreason_dist.errors import GraphError
from medreason_dist.graph.adjacency import Adjacency, find_positions, read_adjacency
from medreason_dist.graph.khop import khop
from medreason_dist.graph.neighborhoods import SCHEMAS
from medreason_dist.schemas import NEIGHBORHOODS, NODES
from medreason_dist.storage import MANIFEST, Folder

BUILD: Final = "run python jobs/build_neighborhoods.py --config … with the same graph.uri"


class _Bucket(NamedTuple):
    """The rows of one bucket, sorted by seed and hop."""

    seed: NDArray[np.int32]
    hop: NDArray[np.int8]
    starts: NDArray[np.int32]
    stops: NDArray[np.int32]
    nodes: NDArray[np.int32]


class GraphStore:
    """A published graph. Nodes are given and returned as ``node_index``; an unknown one raises :class:`KeyError`.

    ``radius`` is the greatest distance that :meth:`hop` knows; ``fingerprint`` identifies input and parameters of the
    build; ``node_index`` holds all nodes, sorted; ``node_table`` has :data:`~medreason_dist.schemas.NODES`. Beside these
    and the adjacency (mapped, where the folder is on a disk) it holds at most ``graph.cache_bytes``.
    """

    def __init__(
        self,
        folder: Folder,
        manifest: dict[str, Any],
        node_table: pa.Table,
        adjacency: Adjacency,
        lookup: Lookup,
        cache_bytes: int,
    ) -> None:
        self.radius: int = manifest["radius"]
        self.fingerprint: str = manifest["fingerprint"]
        self.node_table = node_table
        self.node_index = adjacency.node_index
        self._names: list[str] = node_table["node_name"].to_pylist()
        self._types: list[str] = node_table["node_type"].to_pylist()
        self._adjacency = adjacency
        self._lookup = lookup
        self._folder = folder.child("neighborhoods")
        self._files = _group_by_bucket(self._folder.names(".parquet")) if lookup is Lookup.neighborhoods else {}
        self._bucket_count: int = manifest["buckets"]
        self._hops: Any = cachetools.LRUCache(cache_bytes, _size_bytes)
        self._buckets: Any = cachetools.LRUCache(cache_bytes, _size_bytes)
        self._bucket = -1, _EMPTY

    @classmethod
    def open(cls, config: GraphConfig, storage: StorageConfig | None = None) -> GraphStore:
        """Returns the graph at ``graph.uri``: names and types in memory, hops as they are asked for.

        Raises :class:`GraphError` for a folder that is missing, unfinished or written with other schemas.
        """
        folder = Folder(config.uri, storage)
        manifest = require_manifest(folder)
        nodes = _read_files(folder.child("nodes"), folder.child("nodes").names(".parquet"), NODES)
        adjacency = read_adjacency(folder, manifest["relation_sets"])
        found = nodes.num_rows, len(adjacency.node_index), len(adjacency.indices) // 2
        if found != (manifest["nodes"], manifest["nodes"], manifest["pairs"]):
            what = f"the graph holds {found[0]} nodes and {found[2]} pairs of neighbors, its manifest says "
            what += f"{manifest['nodes']} and {manifest['pairs']}"
            raise GraphError(what, folder.uri, f"delete {MANIFEST} there and {BUILD}")
        return cls(folder, manifest, nodes, adjacency, config.lookup, config.cache_bytes)

    def name(self, node: int) -> str:
        """Returns the node's name."""
        return self._names[self._position(node)]

    def type(self, node: int) -> str:
        """Returns the node's type, one of :class:`~medreason_dist.schemas.NodeType`."""
        return self._types[self._position(node)]

    def degree(self, node: int) -> int:
        """Returns the number of distinct neighbors."""
        position = self._position(node)
        return int(self._adjacency.indptr[position + 1] - self._adjacency.indptr[position])

    def relations(self, src: int, dst: int) -> tuple[str, ...]:
        """Returns the display_relation values between two nodes, sorted; empty where they are not adjacent."""
        start = self._adjacency.indptr[self._position(src)]
        neighbors, wanted = self._neighbor_positions(self._position(src)), self._position(dst)
        offset = int(np.searchsorted(neighbors, wanted))
        if offset == len(neighbors) or neighbors[offset] != wanted:
            return ()
        return tuple(self._adjacency.relation_sets[self._adjacency.relations[start + offset]])

    def edges_between(
        self, left: NDArray[np.int32], right: NDArray[np.int32]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int32], NDArray[np.int32]]:
        """Returns the edges between two sorted sets of nodes, ordered by their ends' indexes in ``left`` and ``right``.

        Four arrays, one entry an edge: the index in ``left``, that in ``right``, and for either end the number of
        neighbors that it has by at least one of the edge's relations.
        """
        graph = self._adjacency
        positions = [find_positions(self.node_index, nodes)[0] for nodes in (left, right)]
        sizes = [int((graph.indptr[p + 1] - graph.indptr[p]).sum()) for p in positions]
        # The edges of the side that has fewer are looked through.
        near = int(sizes[1] < sizes[0])
        mine, theirs, edge = self._find_edges(positions[near], positions[1 - near])
        if near:
            order = np.lexsort((mine, theirs))
            mine, theirs, edge = mine[order], theirs[order], edge[order]
        ends = (theirs, mine) if near else (mine, theirs)
        held = graph.relations[edge]
        degrees = [graph.degrees[p[end], held] for p, end in zip(positions, ends, strict=True)]
        return ends[0], ends[1], degrees[0], degrees[1]

    def _find_edges(
        self, sources: NDArray[np.intp], targets: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Returns, for each edge from ``sources`` to ``targets``, the indexes of its ends and its place in the arrays."""
        graph = self._adjacency
        starts, counts = graph.indptr[sources], graph.indptr[sources + 1] - graph.indptr[sources]
        source = np.repeat(np.arange(len(sources)), counts)
        edge = np.arange(len(source)) + np.repeat(starts - np.cumsum(counts) + counts, counts)
        place = np.full(len(self.node_index), -1, dtype=np.intp)
        place[targets] = np.arange(len(targets))
        target = place[graph.indices[edge]]
        found = target >= 0
        return source[found], target[found], edge[found]

    def hop(self, node: int, distance: int) -> NDArray[np.int32]:
        """Returns, ascending, the nodes at exactly this shortest distance, from 0 (the node itself) to ``radius``."""
        position = self._position(node)
        if distance == 0:
            return self.node_index[position : position + 1]
        if distance == 1:
            return self.node_index[self._neighbor_positions(position)]
        return self._read_hops(node, position)[distance - 1]

    def _position(self, node: int) -> int:
        positions, found = find_positions(self.node_index, np.array([node]))
        if not found[0]:
            raise KeyError(node)
        return int(positions[0])

    def _neighbor_positions(self, position: int) -> NDArray[np.int32]:
        return self._adjacency.indices[self._adjacency.indptr[position] : self._adjacency.indptr[position + 1]]

    def _read_hops(self, node: int, position: int) -> list[NDArray[np.int32]]:
        if self._lookup is Lookup.neighborhoods:
            bucket = self._read_bucket(node % self._bucket_count)
            first, last = np.searchsorted(bucket.seed, [node, node + 1])
            if first < last:
                return _slice_hops(bucket, first, last, self.radius)
        # Of neighborhoods that were built for some seeds only, others may be asked for.
        hops = self._hops.get(node)
        if hops is None:
            graph = self._adjacency
            counts, found = khop(graph.indptr, graph.indices, np.array([position]), self.radius)
            hops = np.split(self.node_index[found], np.cumsum(counts[0])[:-1])
            _keep(self._hops, node, hops)
        return list(hops)

    def _read_bucket(self, number: int) -> _Bucket:
        # The bucket at hand is kept even where it is larger than the cache.
        if self._bucket[0] != number:
            bucket = self._buckets.get(number)
            if bucket is None:
                bucket = _index_bucket(_read_files(self._folder, self._files.get(number, []), NEIGHBORHOODS))
                _keep(self._buckets, number, bucket)
            self._bucket = number, bucket
        return self._bucket[1]


def require_manifest(folder: Folder) -> dict[str, Any]:
    """Returns a graph folder's manifest; raises :class:`GraphError` for one that is unfinished or does not fit."""
    try:
        manifest: dict[str, Any] = folder.read_json(MANIFEST)
    except FileNotFoundError:
        raise GraphError(f"there is no finished graph: {MANIFEST} is missing", folder.uri, BUILD) from None
    if not isinstance(manifest, dict) or manifest.get("schemas") != SCHEMAS:
        what = "the graph was written with other schemas than this version reads"
        raise GraphError(what, folder.uri, f"{BUILD}; it replaces the old one")
    return manifest


def _read_files(folder: Folder, names: list[str], schema: pa.Schema) -> pa.Table:
    # Spark's files say not null where ours do not, and may call a list's items otherwise.
    tables = [folder.read_table(name, schema).cast(schema) for name in names]
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()


def _group_by_bucket(names: list[str]) -> dict[int, list[str]]:
    files: dict[int, list[str]] = {}
    for name in names:
        files.setdefault(int(name.partition("/")[0].removeprefix("bucket=")), []).append(name)
    return files


def _index_bucket(table: pa.Table) -> _Bucket:
    seed, hop = table["seed"].to_numpy(), table["hop"].to_numpy()
    order = np.lexsort((hop, seed))
    lists = table["nodes"].combine_chunks()
    offsets = lists.offsets.to_numpy()
    return _Bucket(seed[order], hop[order], offsets[:-1][order], offsets[1:][order], lists.values.to_numpy())


def _slice_hops(bucket: _Bucket, first: int, last: int, radius: int) -> list[NDArray[np.int32]]:
    lists = [np.empty(0, dtype=np.int32)] * radius
    for row in range(first, last):
        lists[bucket.hop[row] - 1] = bucket.nodes[bucket.starts[row] : bucket.stops[row]]
    return lists


def _size_bytes(arrays: Iterable[NDArray[Any]]) -> int:
    return sum(array.nbytes for array in arrays)


def _keep(cache: Any, key: int, value: object) -> None:
    # cachetools refuses a value that is larger than the whole cache.
    with contextlib.suppress(ValueError):
        cache[key] = value


_EMPTY: Final = _index_bucket(NEIGHBORHOODS.empty_table())
