"""What the workers read: names, types, relations, hop lists of a published graph folder."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medreason_dist.errors import GraphError
from medreason_dist.graph.adjacency import Adjacency, build_adjacency, find_positions
from medreason_dist.graph.khop import khop
from medreason_dist.graph.neighborhoods import SCHEMAS
from medreason_dist.schemas import EDGES, NEIGHBORHOODS, NODES
from medreason_dist.storage import MANIFEST, Folder

CACHED_BUCKETS: Final = 8
"""Buckets kept in memory. One has about 70 MB at PrimeKG's size with radius 2 and 32 buckets."""

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

    ``radius`` is the number of hops that :meth:`hops` knows; ``fingerprint`` identifies input and parameters of the
    build; ``node_index`` holds all nodes, sorted; ``node_table`` has :data:`~medreason_dist.schemas.NODES`.
    """

    def __init__(self, folder: Folder, manifest: dict[str, Any], node_table: pa.Table, adjacency: Adjacency) -> None:
        self.radius: int = manifest["radius"]
        self.fingerprint: str = manifest["fingerprint"]
        self.node_table = node_table
        self.node_index = adjacency.node_index
        self._names: list[str] = node_table["node_name"].to_pylist()
        self._types: list[str] = node_table["node_type"].to_pylist()
        self._adjacency = adjacency
        self._folder = folder.child("neighborhoods")
        self._files = _group_by_bucket(self._folder.names(".parquet"))
        self._bucket_count: int = manifest["buckets"]
        self._buckets: OrderedDict[int, _Bucket] = OrderedDict()

    @classmethod
    def open(cls, folder: Folder) -> GraphStore:
        """Returns the graph in ``folder``: nodes and edges in memory, neighborhoods read when they are asked for.

        Raises :class:`GraphError` for a folder that is missing, unfinished or written with other schemas.
        """
        manifest = require_manifest(folder)
        nodes = _read_all(folder.child("nodes"), NODES)
        edges = _read_all(folder.child("edges"), EDGES)
        if (nodes.num_rows, edges.num_rows) != (manifest["nodes"], manifest["edges"]):
            found = f"{nodes.num_rows} nodes and {edges.num_rows} edges"
            what = f"the graph holds {found}, its manifest says {manifest['nodes']} and {manifest['edges']}"
            raise GraphError(what, folder.uri, f"delete {MANIFEST} there and {BUILD}")
        return cls(folder, manifest, nodes, build_adjacency(nodes, edges))

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

    def neighbors(self, node: int) -> NDArray[np.int32]:
        """Returns the neighbors of any node, ascending, whether its neighborhood is stored or not."""
        return self.node_index[self._neighbor_positions(self._position(node))]

    def relations(self, src: int, dst: int) -> tuple[str, ...]:
        """Returns the display_relation values between two nodes, sorted; empty where they are not adjacent."""
        start = self._adjacency.indptr[self._position(src)]
        neighbors, wanted = self._neighbor_positions(self._position(src)), self._position(dst)
        offset = int(np.searchsorted(neighbors, wanted))
        if offset == len(neighbors) or neighbors[offset] != wanted:
            return ()
        return tuple(self._adjacency.relation_sets[self._adjacency.relations[start + offset]])

    def hops(self, node: int) -> tuple[NDArray[np.int32], ...]:
        """Returns the nodes at distance 0, 1, … ``radius``: item h holds, ascending, those at exactly h.

        Item 0 is the node itself. A node whose neighborhood is not stored has it computed from the edges.
        """
        position = self._position(node)
        bucket = self._read_bucket(node % self._bucket_count)
        first, last = np.searchsorted(bucket.seed, [node, node + 1])
        lists = self._compute_hops(position) if first == last else _slice_hops(bucket, first, last, self.radius)
        return self.node_index[position : position + 1], *lists

    def _position(self, node: int) -> int:
        positions, found = find_positions(self.node_index, np.array([node]))
        if not found[0]:
            raise KeyError(node)
        return int(positions[0])

    def _neighbor_positions(self, position: int) -> NDArray[np.int32]:
        return self._adjacency.indices[self._adjacency.indptr[position] : self._adjacency.indptr[position + 1]]

    def _compute_hops(self, position: int) -> list[NDArray[np.int32]]:
        graph = self._adjacency
        counts, found = khop(graph.indptr, graph.indices, np.array([position]), self.radius)
        return np.split(self.node_index[found], np.cumsum(counts[0])[:-1])

    def _read_bucket(self, number: int) -> _Bucket:
        if number not in self._buckets:
            self._buckets[number] = _index_bucket(_read_files(self._folder, self._files.get(number, []), NEIGHBORHOODS))
        self._buckets.move_to_end(number)
        if len(self._buckets) > CACHED_BUCKETS:
            self._buckets.popitem(last=False)
        return self._buckets[number]


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


def _read_all(folder: Folder, schema: pa.Schema) -> pa.Table:
    return _read_files(folder, folder.names(".parquet"), schema)


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
