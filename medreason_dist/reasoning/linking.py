"""Linking: from mentions to nodes, by exact name, alias, embedding, and the engine's choice for what stays ambiguous."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medreason_dist.config import LinkingConfig
from medreason_dist.reasoning.mentions import NameIndex
from medreason_dist.reasoning.paths import Graph
from medreason_dist.reasoning.records import Entity, Mention
from medreason_dist.schemas import LinkedBy

Nearest = Sequence[tuple[int, float]]
"""Candidates of one mention: ``(node, cosine similarity)``, best first."""


@dataclass(frozen=True)
class Ambiguous:
    """A mention that several nodes could be. The engine chooses one of ``candidates`` or none."""

    mention: Mention
    candidates: tuple[tuple[int, float], ...]


def plan_nearest(mentions: Sequence[Mention], names: NameIndex) -> list[str]:
    """Returns the distinct mention texts that no name or alias matches: they need the embedding."""
    return list(dict.fromkeys(m.text for m in mentions if not names.exact(m.text) and not names.alias(m.text)))


def plan_links(
    mentions: Sequence[Mention], graph: Graph, names: NameIndex, nearest: Mapping[str, Nearest], config: LinkingConfig
) -> tuple[list[Entity], list[Ambiguous]]:
    """Returns the entities that are certain and the mentions that the engine has to decide.

    A mention whose name fits several nodes is certain if only one of them has the mention's type. A mention without any
    candidate from ``config.min_score`` up is neither.
    """
    certain: list[Entity] = []
    ambiguous: list[Ambiguous] = []
    for mention in mentions:
        if nodes := names.exact(mention.text):
            linked_by, candidates = LinkedBy.exact, _fitting(nodes, mention, graph)
        elif nodes := names.alias(mention.text):
            linked_by, candidates = LinkedBy.alias, _fitting(nodes, mention, graph)
        else:
            linked_by = LinkedBy.embedding
            candidates = [(node, score) for node, score in nearest[mention.text] if score >= config.min_score]
        if not candidates:
            continue
        node, score = candidates[0]
        if score >= config.certain_score and (linked_by is LinkedBy.embedding or len(candidates) == 1):
            certain.append(Entity(node, mention.text, score, linked_by, mention.side))
        else:
            ambiguous.append(Ambiguous(mention, tuple(candidates[: config.top_k])))
    return certain, ambiguous


def _fitting(nodes: Sequence[int], mention: Mention, graph: Graph) -> list[tuple[int, float]]:
    typed = [node for node in nodes if graph.type(node) == mention.type]
    return [(node, 1.0) for node in (typed if len(typed) == 1 else nodes)]


def apply_choices(ambiguous: Sequence[Ambiguous], choices: Sequence[int]) -> list[Entity]:
    """Returns the entities that the engine chose: ``choices[i]`` is 0 for none, else counts from 1."""
    entities = []
    for item, choice in zip(ambiguous, choices, strict=True):
        if choice:
            node, score = item.candidates[choice - 1]
            entities.append(Entity(node, item.mention.text, score, LinkedBy.engine, item.mention.side))
    return entities


def distinct_entities(entities: Sequence[Entity]) -> list[Entity]:
    """Returns the entities with one for each node and side, the first of each."""
    distinct: dict[tuple[str, int], Entity] = {}
    for entity in entities:
        distinct.setdefault((entity.side, entity.node), entity)
    return list(distinct.values())
