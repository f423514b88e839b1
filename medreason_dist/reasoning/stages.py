"""The stages of the program: functions from records to records. Those that ask an engine are coroutines.

Every stage returns its result or raises :class:`~medreason_dist.reasoning.records.Rejected`.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from medreason_dist.config import Config, Method
from medreason_dist.engines.base import Engine
from medreason_dist.reasoning import linking, mentions, paths, prompts, responses, verification
from medreason_dist.reasoning.ask import Ask
from medreason_dist.reasoning.records import (
    Entity,
    Mention,
    Path,
    PathGroup,
    Question,
    Rejected,
    TraceSections,
    Verdict,
)
from medreason_dist.schemas import RejectReason, Side, Stage

Nearest = Callable[[Sequence[str], int], Awaitable[Sequence[linking.Nearest]]]
"""Returns, for each text, its ``k`` nearest nodes by name embedding with their cosine similarities, best first."""


@dataclass(frozen=True)
class Tools:
    """What the program works with; shared by all questions of a worker. These alone make a plain chain of thought."""

    method: ClassVar[Method] = Method.plain_cot
    engine: Engine
    judge: Engine
    config: Config


@dataclass(frozen=True)
class GraphTools(Tools):
    """The tools of a program that reasons along paths of the knowledge graph."""

    method: ClassVar[Method] = Method.medreason
    graph: paths.Graph
    names: mentions.NameIndex
    nearest: Nearest


async def find_mentions(question: Question, tools: GraphTools, ask: Ask) -> list[Mention]:
    """Returns the mentions that the gazetteer or the engine finds in question and answer."""
    texts = {Side.question: question.question, Side.answer: question.full_answer}
    gazetteer = [mention for side, text in texts.items() for mention in tools.names.scan(text, side)]
    reply = await ask(
        tools.engine,
        Stage.extract,
        prompts.EXTRACT.messages(question=question.question, answer=question.full_answer),
        responses.mentions_form(),
        tools.config.linking.max_tokens,
    )
    extracted = responses.parse_mentions(reply, texts)
    return mentions.merge_mentions(gazetteer, extracted, tools.config.linking.max_mentions)


async def link_entities(question: Question, found: Sequence[Mention], tools: GraphTools, ask: Ask) -> list[Entity]:
    """Returns the entities that the mentions name, one for each node and side; asks only about ambiguous mentions."""
    config = tools.config.linking
    unknown = linking.plan_nearest(found, tools.names)
    nearest = dict(zip(unknown, await tools.nearest(unknown, config.top_k), strict=True)) if unknown else {}
    certain, ambiguous = linking.plan_links(found, tools.graph, tools.names, nearest, config)
    if not ambiguous:
        return linking.distinct_entities(certain)
    counts = [len(item.candidates) for item in ambiguous]
    described = [
        (item.mention.text, [paths.describe_node(tools.graph, node) for node, _ in item.candidates])
        for item in ambiguous
    ]
    reply = await ask(
        tools.engine,
        Stage.link,
        prompts.LINK.messages(
            question=question.question, answer=question.full_answer, names=prompts.name_choices(described)
        ),
        responses.choices_form(counts),
        config.max_tokens,
    )
    chosen = linking.apply_choices(ambiguous, responses.parse_choices(reply, counts))
    return linking.distinct_entities([*certain, *chosen])


def find_groups(entities: Sequence[Entity], tools: GraphTools) -> list[PathGroup]:
    """Returns the shortest paths of each pair of a question entity and an answer entity within the bound."""
    config = tools.config
    sources = [entity.node for entity in entities if entity.side is Side.question]
    targets = [entity.node for entity in entities if entity.side is Side.answer]
    groups = paths.find_groups(tools.graph, sources, targets, config.paths.max_candidates, config.paths.max_pairs)
    if not groups:
        detail = f"no pair of {len(sources)} × {len(targets)} entities is 1 to {2 * tools.graph.radius} hops apart"
        raise Rejected(RejectReason.no_path_within_bound, detail)
    return groups


async def prune_paths(question: Question, groups: Sequence[PathGroup], tools: GraphTools, ask: Ask) -> list[Path]:
    """Returns up to ``paths.top_k`` paths of each group, the engine's picks first.

    Groups that have no more than that keep what they have, without a request.
    """
    config = tools.config.paths
    small = [g for g in groups if len(g.candidates) <= config.top_k]
    large = fit_budget([g for g in groups if len(g.candidates) > config.top_k], tools)
    kept = [replace(path, reason="no more candidates") for group in small for path in group.candidates]
    if large:
        counts = [len(group.candidates) for group in large]
        described = [
            (
                f"from {paths.describe_name(tools.graph, group.source)} to "
                f"{paths.describe_name(tools.graph, group.target)}",
                [paths.describe_path(tools.graph, path.nodes) for path in group.candidates],
            )
            for group in large
        ]
        reply = await ask(
            tools.engine,
            Stage.prune,
            prompts.PRUNE.messages(
                groups=prompts.path_groups(described),
                top_k=str(config.top_k),
                question=question.question,
                answer=question.full_answer,
            ),
            responses.kept_form(counts, config.top_k),
            # Each group is `"12": [123, 123, 123],`: a key of up to six tokens and up to six a number.
            16 + len(large) * (6 + 6 * config.top_k),
        )
        numbers = responses.parse_kept(reply, counts, config.top_k)
        chosen = [
            replace(group.candidates[number - 1], reason="chosen by the engine")
            for group, picked in zip(large, numbers, strict=True)
            for number in picked
        ]
        kept = [*chosen, *kept]
    if not kept:
        offered = sum(len(group.candidates) for group in large)
        raise Rejected(RejectReason.pruned_all, f"the engine kept none of {offered} paths of {len(large)} pairs")
    return kept


def state_facts(kept: Sequence[Path], tools: GraphTools) -> list[str]:
    """Returns the kept paths as text, as many as fit ``paths.prompt_tokens``, one at least."""
    described = [paths.describe_path(tools.graph, path.nodes) for path in kept]
    return list(_take_within(described, tools.config.paths.prompt_tokens, tools.engine)) or described[:1]


async def write_trace(question: Question, facts: Sequence[str], tools: Tools, ask: Ask, attempt: int) -> TraceSections:
    """Returns the reasoning that the engine writes from the facts or, without any, plainly. It is not told the answer."""
    config = tools.config.trace
    asked = prompts.with_options(question.question, question.options, question.context)
    if facts:
        headings = responses.HEADINGS
        messages = prompts.TRACE.messages(question=asked, paths="\n".join(f"- {fact}" for fact in facts))
    else:
        headings = responses.PLAIN_HEADINGS
        messages = prompts.PLAIN_TRACE.messages(question=asked)
    reply = await ask(
        tools.engine,
        Stage.trace,
        messages,
        responses.trace_form(config.section_sentences, headings),
        config.max_tokens,
        temperature=tools.config.engine.temperature,
        sampling_params=tools.config.engine.sampling_params,
        attempt=attempt,
    )
    return responses.parse_trace(reply, headings)


async def answer_from_reasoning(question: Question, trace: TraceSections, tools: Tools, ask: Ask, attempt: int) -> str:
    """Returns what the engine answers from the reasoning alone, its answer statements and conclusion taken out.

    A label, several labels joined by commas, or the text of an open answer.
    """
    config = tools.config.trace
    stripped = verification.strip_answer_statements(trace.reasoning, question.options, question.answer)
    reasoning = verification.require_substance(stripped, config.min_words)
    labels, several = tuple(question.options), len(question.answer_labels) > 1
    reply = await ask(
        tools.engine,
        Stage.answer,
        prompts.ANSWER.messages(
            reasoning=reasoning,
            question=prompts.with_options(question.question, question.options),
            form=prompts.answer_form(bool(labels), several),
        ),
        responses.answer_form(labels, several),
        config.answer_tokens,
        attempt=attempt,
    )
    return ",".join(responses.parse_labels(reply, labels, several)) if labels else responses.parse_line(reply)


async def verify(question: Question, answer: str, tools: Tools, ask: Ask, attempt: int) -> Verdict:
    """Returns the verdict on an answer: by its label where there are options, else by the judge."""
    if question.options:
        return Verdict(verification.match_labels(question, answer), "option_match")
    reply = await ask(
        tools.judge,
        Stage.judge,
        prompts.JUDGE.messages(question=question.question, reference=question.answer, answer=answer),
        responses.verdict_form(),
        tools.config.trace.answer_tokens,
        attempt=attempt,
    )
    return Verdict(responses.parse_verdict(reply), tools.judge.model)


def fit_budget(groups: Sequence[PathGroup], tools: GraphTools) -> list[PathGroup]:
    """Returns the groups with as many candidates as fit ``paths.prompt_tokens``: first the best of each, then the
    second of each, and so on. Each keeps at least one."""
    by_rank = itertools.chain.from_iterable(
        itertools.zip_longest(*([(number, path) for path in g.candidates] for number, g in enumerate(groups)))
    )
    offers = [offer for offer in by_rank if offer is not None]
    described = [paths.describe_path(tools.graph, path.nodes) for _, path in offers]
    count = sum(1 for _ in _take_within(described, tools.config.paths.prompt_tokens, tools.engine))
    taken = offers[: max(count, len(groups))]
    return [
        replace(group, candidates=tuple(path for owner, path in taken if owner == number))
        for number, group in enumerate(groups)
    ]


def _take_within(texts: Sequence[str], budget_tokens: int, engine: Engine) -> Iterator[str]:
    for text in texts:
        # Number, line break and list mark of its line.
        budget_tokens -= engine.count_tokens(text) + 4
        if budget_tokens < 0:
            return
        yield text
