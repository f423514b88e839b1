from __future__ import annotations

from medreason_dist.config import LinkingConfig
from medreason_dist.reasoning.linking import apply_choices, distinct_entities, plan_links, plan_nearest
from medreason_dist.reasoning.mentions import NameIndex
from medreason_dist.reasoning.paths import Graph
from medreason_dist.reasoning.records import Entity, Mention
from medreason_dist.schemas import LinkedBy, Side


def mention(text: str, node_type: str | None = None, side: Side = Side.question) -> Mention:
    return Mention(text, side, node_type, "engine")


def test_exact_alias_and_certain_embedding_need_no_engine(graph: Graph, names: NameIndex) -> None:
    mentions = [mention("Metformin"), mention("Sjogren's syndrome"), mention("glucophage")]
    nearest = {"glucophage": [(0, 0.97), (3, 0.7)]}
    certain, ambiguous = plan_links(mentions, graph, names, nearest, LinkingConfig())
    assert [(e.node, e.linked_by) for e in certain] == [
        (0, LinkedBy.exact),
        (7, LinkedBy.alias),
        (0, LinkedBy.embedding),
    ]
    assert not ambiguous


def test_a_shared_name_is_certain_only_with_a_type(graph: Graph, names: NameIndex) -> None:
    certain, ambiguous = plan_links([mention("hypertension")], graph, names, {}, LinkingConfig())
    assert not certain
    assert ambiguous[0].candidates == ((5, 1.0), (6, 1.0))
    certain, ambiguous = plan_links([mention("hypertension", "effect/phenotype")], graph, names, {}, LinkingConfig())
    assert [e.node for e in certain] == [6]
    assert not ambiguous


def test_embedding_candidates_below_the_threshold_are_none(graph: Graph, names: NameIndex) -> None:
    nearest = {"sulfonylurea": [(3, 0.8), (0, 0.61), (4, 0.3)], "zebra": [(4, 0.59)], "aglucose": [(3, 0.9)]}
    certain, ambiguous = plan_links([mention(text) for text in nearest], graph, names, nearest, LinkingConfig())
    assert not certain
    assert [(a.mention.text, a.candidates) for a in ambiguous] == [
        ("sulfonylurea", ((3, 0.8), (0, 0.61))),
        ("aglucose", ((3, 0.9),)),
    ]


def test_only_unknown_texts_are_embedded_and_each_once(names: NameIndex) -> None:
    texts = ["metformin", "glucophage", "glucophage", "Sjogren syndrome"]
    assert plan_nearest([mention(text) for text in texts], names) == ["glucophage"]


def test_choices_become_entities_and_zero_is_none(graph: Graph, names: NameIndex) -> None:
    _, ambiguous = plan_links(
        [mention("hypertension"), mention("biguanide")],
        graph,
        names,
        {"biguanide": [(0, 0.7), (3, 0.6)]},
        LinkingConfig(),
    )
    assert apply_choices(ambiguous, [0, 1]) == [Entity(0, "biguanide", 0.7, LinkedBy.engine, Side.question)]


def test_one_entity_for_each_node_and_side() -> None:
    first = Entity(0, "metformin", 1.0, LinkedBy.exact, Side.question)
    again = Entity(0, "biguanide", 0.7, LinkedBy.engine, Side.question)
    answer = Entity(0, "metformin", 1.0, LinkedBy.exact, Side.answer)
    assert distinct_entities([first, again, answer]) == [first, answer]
