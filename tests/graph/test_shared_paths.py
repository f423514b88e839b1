"""Path sets on the real fragment, against networkx."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from benchmarks.graph import read_graph
from benchmarks.paths import compare_paths
from medreason_dist.config import GraphConfig
from medreason_dist.graph.neighborhoods import build_neighborhoods
from medreason_dist.graph.store import GraphStore
from tests.graph.small import plan


@pytest.mark.slow
def test_all_pairs_among_300_nodes_of_the_shared_fragment(shared: Path, tmp_path: Path) -> None:
    build_neighborhoods(plan(shared / "data/primekg/kg.csv.gz", tmp_path / "graph", processes=2))
    store, graph = GraphStore.open(GraphConfig(uri=str(tmp_path / "graph"))), read_graph(tmp_path / "graph")
    nodes = np.random.default_rng(0).choice(store.node_index, 300, replace=False).tolist()
    found: Counter[str] = Counter()
    for number, source in enumerate(nodes):
        found += compare_paths(store, nx.predecessor(graph, source), source, nodes[number + 1 :])
    assert not [kind for kind in found if kind.startswith("DIFFERENT")]
    assert found.total() == 300 * 299 // 2
    assert {"unconnected: none", "distance 5: none within the bound"} < set(found)
