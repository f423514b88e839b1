"""Small graphs in PrimeKG's format, and what the tests compare."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from numpy.typing import NDArray

from medreason_dist.config import Config, GraphConfig, NeighborhoodsConfig, NeighborhoodsEngine, StorageConfig
from medreason_dist.graph.source import COLUMNS
from medreason_dist.graph.store import GraphStore
from medreason_dist.schemas import NEIGHBORHOODS
from medreason_dist.storage import Folder

Edge = tuple[int, int, str, str]
"""x_index, y_index, relation, display_relation."""

RELATIONS = (
    ("drug_disease", "indication"),
    ("drug_disease", "off-label use"),
    ("off-label", "indication"),
    ("p", "ppi"),
)


def random_edges(max_nodes: int = 14, max_edges: int = 40) -> st.SearchStrategy[list[Edge]]:
    """Random multigraphs with gaps between node indexes, self loops, duplicates and several relations."""
    node = st.integers(0, max_nodes).map(lambda n: n * 7 + n % 3)
    edge = st.tuples(node, node, st.sampled_from(RELATIONS)).map(lambda e: (e[0], e[1], *e[2]))
    return st.lists(edge, min_size=1, max_size=max_edges)


def row(edge: Edge, **changes: str) -> dict[str, str]:
    """A line of kg.csv for an edge, with some columns changed."""
    x, y, relation, display = edge
    values = {"relation": relation, "display_relation": display}
    for end, node in (("x", x), ("y", y)):
        parts = {"index": str(node), "id": f"D{node}", "type": "drug", "name": f"node {node}", "source": "S"}
        values |= {f"{end}_{part}": value for part, value in parts.items()}
    return values | changes


def to_csv(rows: Iterable[Mapping[str, str]], columns: Iterable[str] = COLUMNS) -> bytes:
    """kg.csv as bytes."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(columns), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def plan(source: Path, graph: Path, **settings: object) -> Config:
    """The config of a build: the local engine in one process unless ``settings`` say otherwise."""
    chosen = {"engine": NeighborhoodsEngine.local, "processes": 1, "buckets": 4, **settings}
    neighborhoods = replace(NeighborhoodsConfig(), **chosen)  # type: ignore[arg-type]
    return Config(graph=GraphConfig(source=str(source), uri=str(graph)), neighborhoods=neighborhoods)


def read_rows(graph: Path | str, storage: StorageConfig | None = None) -> pa.Table:
    """All rows of the neighborhoods, by seed and hop."""
    folder = Folder(str(graph), storage).child("neighborhoods")
    tables = [folder.read_table(name, NEIGHBORHOODS).cast(NEIGHBORHOODS) for name in folder.names(".parquet")]
    return (
        pa.concat_tables([NEIGHBORHOODS.empty_table(), *tables])
        .sort_by([("seed", "ascending"), ("hop", "ascending")])
        .combine_chunks()
    )


def to_hops(rows: pa.Table) -> dict[tuple[int, int], list[int]]:
    """(seed, hop) → nodes."""
    columns = rows.to_pydict()
    return dict(zip(zip(columns["seed"], columns["hop"], strict=True), columns["nodes"], strict=True))


def networkx_hops(pairs: Iterable[tuple[int, int]], radius: int) -> dict[tuple[int, int], list[int]]:
    """(seed, hop) → nodes, as networkx measures distances."""
    hops: dict[tuple[int, int], list[int]] = {}
    graph = nx.Graph(pair for pair in pairs if pair[0] != pair[1])
    for seed in graph:
        for node, hop in sorted(nx.single_source_shortest_path_length(graph, seed, cutoff=radius).items()):
            if hop:
                hops.setdefault((seed, hop), []).append(node)
    return hops


def all_hops(store: GraphStore, node: int) -> list[NDArray[np.int32]]:
    """The nodes at distance 0, 1, … radius."""
    return [store.hop(node, distance) for distance in range(store.radius + 1)]


def ints(values: Iterable[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """An int64 array."""
    return np.array(list(values), dtype=np.int64)
