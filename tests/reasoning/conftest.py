"""A small graph in memory and an engine that answers as told: what the pure program needs to run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np
import pytest

from medreason_dist.config import Config, load_config
from medreason_dist.engines.base import Choice, JsonSchema, Request
from medreason_dist.engines.scripted import Reply, ScriptedEngine
from medreason_dist.reasoning.mentions import NameIndex
from medreason_dist.reasoning.paths import Nodes
from medreason_dist.reasoning.stages import GraphTools
from medreason_dist.schemas import Stage

NODES = {
    0: ("metformin", "drug"),
    1: ("type 2 diabetes mellitus", "disease"),
    2: ("PRKAA1", "gene/protein"),
    3: ("Glipizide", "drug"),
    4: ("lactic acidosis", "effect/phenotype"),
    5: ("hypertension", "disease"),
    6: ("Hypertension", "effect/phenotype"),
    7: ("Sjögren syndrome", "disease"),
    8: ("gluconeogenesis", "biological_process"),
}
EDGES = [
    (0, 1, "indication"),
    (0, 2, "target"),
    (0, 4, "side effect"),
    (3, 1, "indication"),
    (2, 8, "interacts with"),
    (8, 1, "associated with"),
    (0, 1, "off-label use"),
    (5, 6, "phenotype present"),
    (1, 5, "associated with"),
]


class MemoryGraph:
    """A :class:`medreason_dist.reasoning.paths.Graph` over networkx."""

    def __init__(
        self, nodes: Mapping[int, tuple[str, str]], edges: Iterable[tuple[int, int, str]], radius: int = 2
    ) -> None:
        self.radius = radius
        self.nodes = dict(nodes)
        self.nx = nx.Graph()
        self.nx.add_nodes_from(nodes)
        for src, dst, relation in edges:
            known = self.nx.get_edge_data(src, dst, {"relations": set()})["relations"]
            self.nx.add_edge(src, dst, relations=known | {relation})

    def name(self, node: int) -> str:
        return self.nodes[node][0]

    def type(self, node: int) -> str:
        return self.nodes[node][1]

    def hop(self, node: int, distance: int) -> Nodes:
        assert 0 <= distance <= self.radius
        distances = nx.single_source_shortest_path_length(self.nx, node, cutoff=distance)
        return np.array(sorted(n for n, d in distances.items() if d == distance), dtype=np.int32)

    def edges_between(self, left: Nodes, right: Nodes) -> tuple[Any, Any, Any, Any]:
        edges = [
            (i, j, self.degree_by(src, dst), self.degree_by(dst, src))
            for i, src in enumerate(left.tolist())
            for j, dst in enumerate(right.tolist())
            if self.nx.has_edge(src, dst)
        ]
        left_end, right_end, left_degrees, right_degrees = np.array(edges, dtype=np.int64).reshape(-1, 4).T
        return left_end, right_end, left_degrees, right_degrees

    def degree_by(self, node: int, neighbor: int) -> int:
        held = self.nx.edges[node, neighbor]["relations"]
        return sum(bool(held & edge["relations"]) for edge in self.nx[node].values())

    def relations(self, src: int, dst: int) -> tuple[str, ...]:
        return tuple(sorted(self.nx.get_edge_data(src, dst, {"relations": ()})["relations"]))


@pytest.fixture
def graph() -> MemoryGraph:
    return MemoryGraph(NODES, EDGES)


@pytest.fixture
def names() -> NameIndex:
    return NameIndex(NODES, [name for name, _ in NODES.values()], [node_type for _, node_type in NODES.values()])


TRACE = """### Paths
metformin is indicated for type 2 diabetes mellitus.
### Reasoning
The patient has type 2 diabetes mellitus. Metformin acts on PRKAA1, which lowers gluconeogenesis in the liver and so \
the fasting glucose. Thus, the answer is B.
### Conclusion
B. Metformin
"""

PLAIN = TRACE[TRACE.index("### Reasoning") :]
"""The same without a graph."""


def obedient(overrides: Mapping[Stage, str] | None = None) -> Reply:
    """Returns a reply function: what ``overrides`` say, else the text of a model that does as it is told and is right."""

    def reply(request: Request) -> str:
        fixed = {Stage.trace: TRACE, Stage.extract: '{"question": [], "answer": []}', **(overrides or {})}
        if request.stage in fixed:
            return fixed[request.stage]
        match request.constraint:
            case JsonSchema(schema):
                first: object = 1 if request.stage is Stage.link else [1]
                return json.dumps(dict.fromkeys(schema["properties"], first))
            case Choice():
                return "B" if request.stage is Stage.answer else "correct"
        return "metformin"

    return reply


@pytest.fixture
def make_tools(graph: MemoryGraph, names: NameIndex) -> Callable[..., GraphTools]:
    """Returns a factory: ``make_tools(reply, *dotlist)``."""

    async def nearest(texts: Sequence[str], top_k: int) -> list[list[tuple[int, float]]]:
        return [[(0, 0.7), (3, 0.65)] if "biguanide" in text else [(4, 0.2)] for text in texts]

    def make(reply: Reply | None = None, *dotlist: str) -> GraphTools:
        engine = ScriptedEngine(reply or obedient())
        return GraphTools(engine, engine, load_config(Config, None, dotlist), graph, names, nearest)

    return make
