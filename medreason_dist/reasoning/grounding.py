"""Grounding: what of a reasoning stands on the knowledge graph. ``docs/grounding.md`` has the definitions.

A step is a sentence. A claim is a pair of distinct entities that one step names; it is supported where the graph has an
edge between them, by whatever relation. Everything is found by names: no model reads the text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from medreason_dist.reasoning.mentions import Name, NameIndex, name_variants, normal_form
from medreason_dist.reasoning.paths import Graph
from medreason_dist.reasoning.records import Entity, Path
from medreason_dist.reasoning.verification import find_sentences
from medreason_dist.schemas import NodeType

MAX_PAIRED: Final = 12
"""Entities of one step that are paired, those on a path first: a list of thirty would make 435 claims."""
MAX_CLAIMS: Final = 2_000
"""Claims of one reasoning; steps after these have none. Thirty steps of twelve entities have 1,980."""
MAX_BEARERS: Final = 4
"""Nodes of one name that are looked at: those on a path, then those that were linked, then those of the very name."""


def ground(
    reasoning: str, kept: Sequence[Path], entities: Sequence[Entity], graph: Graph, names: NameIndex
) -> dict[str, Any]:
    """Returns the ``grounding`` column of a reasoning that was written from the paths ``kept``.

    ``entities`` are the question's and the answer's; ``names`` has the names of all nodes.
    """
    index = names.expecting(_own_names(kept, entities, graph))
    facts = _Facts(kept, graph)
    named: list[Name] = []
    steps: list[dict[str, Any]] = []
    left = MAX_CLAIMS
    for start, end in find_sentences(reasoning):
        found = [
            Name(start + name.start, start + name.end, name.nodes[:MAX_BEARERS])
            for name in index.find(reasoning[start:end])
        ]
        claims = list(itertools.islice(facts.claims(found), left))
        left -= len(claims)
        named += found
        steps.append({"start": start, "end": end, "claims": claims})
    claims = [claim for step in steps for claim in step["claims"]]
    supported = sum(claim["relations"] is not None for claim in claims)
    used = {frozenset((claim["src"], claim["dst"])) for claim in claims if claim["on_path"]}
    distinct = {name.nodes[0] for name in named}
    off_path = distinct - facts.nodes
    return {
        "path_nodes": len(facts.nodes),
        "path_nodes_named": len(facts.nodes & {node for name in named for node in name.nodes}),
        "path_edges": len(facts.edges),
        "path_edges_used": len(used),
        "claims": len(claims),
        "claims_supported": supported,
        "claims_on_path": sum(claim["on_path"] for claim in claims),
        "entities_named": len(distinct),
        "entities_off_path": len(off_path),
        "coverage": _share(len(used), len(facts.edges)),
        "support": _share(supported, len(claims)),
        "off_path": _share(len(off_path), len(distinct)),
        "named": [
            {
                "node_index": name.nodes[0],
                "name": graph.name(name.nodes[0]),
                "start": name.start,
                "end": name.end,
                "on_path": name.nodes[0] in facts.nodes,
            }
            for name in named
        ],
        "steps": steps,
    }


@dataclass(frozen=True)
class _Facts:
    """The graph as a reasoning's claims are looked up in it."""

    kept: Sequence[Path]
    graph: Graph
    _known: dict[frozenset[int], str | None] = field(default_factory=dict)

    @cached_property
    def nodes(self) -> frozenset[int]:
        """The nodes of the kept paths."""
        return frozenset(node for path in self.kept for node in path.nodes)

    @cached_property
    def edges(self) -> frozenset[frozenset[int]]:
        """The pairs of nodes that a hop of a kept path joins, in either direction."""
        return frozenset(frozenset(hop) for path in self.kept for hop in itertools.pairwise(path.nodes))

    def claims(self, found: Sequence[Name]) -> Iterator[dict[str, Any]]:
        """Yields the claims of one step."""
        entities: dict[int, Name] = {}
        for name in found:
            entities.setdefault(name.nodes[0], name)
        paired = sorted(entities.values(), key=lambda name: name.nodes[0] not in self.nodes)[:MAX_PAIRED]
        for left, right in itertools.combinations(sorted(paired), 2):
            yield self._claim(left, right)

    def _claim(self, left: Name, right: Name) -> dict[str, Any]:
        """Returns the claim that two names make: of the nodes that bear them, a pair that a kept path joins, else one
        that the graph does, else the most likely ones."""
        pairs = [(src, dst) for src, dst in itertools.product(left.nodes, right.nodes) if src != dst]
        walked = next((pair for pair in pairs if frozenset(pair) in self.edges), None)
        src, dst = walked or next((pair for pair in pairs if self._relations(*pair)), pairs[0])
        return {"src": src, "dst": dst, "relations": self._relations(src, dst), "on_path": walked is not None}

    def _relations(self, src: int, dst: int) -> str | None:
        pair = frozenset((src, dst))
        if pair not in self._known:
            self._known[pair] = " | ".join(self.graph.relations(src, dst)) or None
        return self._known[pair]


def _own_names(kept: Sequence[Path], entities: Sequence[Entity], graph: Graph) -> dict[str, tuple[int, ...]]:
    """Returns what the question's own nodes are called: the names of all of them, and the mentions of those that were
    linked. A gene's and one of two letters count only as they are written."""
    nodes = [node for path in kept for node in path.nodes] + [entity.node for entity in entities]
    calls = [(graph.name(node), node) for node in nodes] + [(entity.mention, entity.node) for entity in entities]
    own: dict[str, dict[int, None]] = {}
    for text, node in calls:
        literal = graph.type(node) == NodeType.protein or len(normal_form(text)) < 3
        for key in (text,) if literal else name_variants(text):
            if len(key) > 1:
                own.setdefault(key, {})[node] = None
    return {key: tuple(bearers) for key, bearers in own.items()}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
