"""The program of one question, top to bottom as the paper's figure (arXiv 2504.00993, figure 2); without a graph, its
last three stages alone: the plain chain of thought that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from medreason_dist.reasoning import paths, prompts, stages, verification
from medreason_dist.reasoning.ask import Ask
from medreason_dist.reasoning.grounding import ground
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
from medreason_dist.reasoning.stages import GraphTools, Tools
from medreason_dist.schemas import RejectReason, Side, Stage, Status


@dataclass
class Trace:
    """What is known of a question so far. A rejected one keeps what was found up to its exit."""

    mentions: list[Mention] = field(default_factory=list)
    entities: list[Entity] = field(default_factory=list)
    groups: list[PathGroup] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    attempts: int = 0
    sections: TraceSections | None = None
    answer: str | None = None
    verdict: Verdict | None = None
    rejected: Rejected | None = None


async def run_question(question: Question, tools: Tools) -> dict[str, Any]:
    """Returns the columns of :data:`medreason_dist.schemas.TRACES` that the program decides.

    The same completions give the same columns. Raises only :class:`~medreason_dist.errors.EngineDead`.
    """
    ask = Ask(question.question_id, tools.config.run.seed)
    trace = Trace()
    question = prompts.quote_headings(question)
    try:
        if isinstance(tools, GraphTools):
            trace.mentions = await stages.find_mentions(question, tools, ask)
            _require_mentions(trace)
            trace.entities = await stages.link_entities(question, trace.mentions, tools, ask)
            _require_entities(trace)
            trace.groups = stages.find_groups(trace.entities, tools)
            trace.kept = await stages.prune_paths(question, trace.groups, tools, ask)
            trace.facts = stages.state_facts(trace.kept, tools)
        await _reason(question, trace, tools, ask)
    except Rejected as rejected:
        trace.rejected = rejected
    return _as_row(trace, ask, tools)


def reject_question(question: Question, rejected: Rejected, tools: Tools) -> dict[str, Any]:
    """Returns the columns of a question that is rejected without being asked."""
    return _as_row(Trace(rejected=rejected), Ask(question.question_id, tools.config.run.seed), tools)


async def _reason(question: Question, trace: Trace, tools: Tools, ask: Ask) -> None:
    """Writes and tries the reasoning, anew after a rejection while ``trace.attempts`` allows."""
    for attempt in range(1, tools.config.trace.attempts + 1):
        trace.attempts, trace.sections, trace.answer, trace.verdict = attempt, None, None, None
        try:
            trace.sections = await stages.write_trace(question, trace.facts, tools, ask, attempt)
            trace.answer = await stages.answer_from_reasoning(question, trace.sections, tools, ask, attempt)
            trace.verdict = await stages.verify(question, trace.answer, tools, ask, attempt)
            verification.require_correct(question, trace.answer, trace.verdict)
            return
        except Rejected as rejected:
            final = rejected.reason in (RejectReason.too_long, RejectReason.engine_error)
            if final or attempt == tools.config.trace.attempts:
                raise


def _require_mentions(trace: Trace) -> None:
    if not trace.mentions:
        raise Rejected(RejectReason.no_mentions, "neither the gazetteer nor the engine found an entity")


def _require_entities(trace: Trace) -> None:
    reasons = {Side.question: RejectReason.no_question_entity, Side.answer: RejectReason.no_answer_entity}
    for side, reason in reasons.items():
        if not any(entity.side is side for entity in trace.entities):
            named = ", ".join(repr(m.text) for m in trace.mentions if m.side is side) or "none"
            raise Rejected(reason, f"mentions in the {side}: {named}")


def _as_row(trace: Trace, ask: Ask, tools: Tools) -> dict[str, Any]:
    sections, verdict, rejected = trace.sections, trace.verdict, trace.rejected
    return {
        "status": Status.rejected if rejected else Status.accepted,
        "reject_reason": rejected.reason if rejected else None,
        "reject_detail": rejected.detail if rejected else None,
        "mentions": [{"text": m.text, "side": m.side, "type": m.type, "found_by": m.found_by} for m in trace.mentions],
        "candidate_path_count": sum(group.count for group in trace.groups),
        **_graph_columns(trace, tools),
        "reasoning": sections.reasoning if sections else None,
        "conclusion": sections.conclusion if sections else None,
        "answer_from_reasoning": trace.answer,
        "judge": {"verdict": verdict.verdict, "by": verdict.by} if verdict else None,
        "usage": [ask.usage[stage] for stage in Stage if stage in ask.usage],
        "prompts": prompts.prompt_rows(tools.method, ask.usage),
        "model": tools.engine.model,
        "judge_model": tools.judge.model,
        "attempts": trace.attempts,
    }


def _graph_columns(trace: Trace, tools: Tools) -> dict[str, Any]:
    """Returns the columns that name the graph's nodes; a reasoning without a graph is not measured against it."""
    if not isinstance(tools, GraphTools):
        return {"question_entities": [], "answer_entities": [], "paths": [], "grounding": None}
    graph, sections = tools.graph, trace.sections
    rows: dict[Side, list[dict[str, Any]]] = {side: [] for side in Side}
    for e in trace.entities:
        row = {"node_index": e.node, "name": graph.name(e.node), "type": graph.type(e.node)}
        rows[e.side].append(row | {"mention": e.mention, "score": e.score, "linked_by": e.linked_by})
    return {
        "question_entities": rows[Side.question],
        "answer_entities": rows[Side.answer],
        "paths": [paths.path_row(graph, path) for path in trace.kept],
        "grounding": ground(sections.reasoning, trace.kept, trace.entities, graph, tools.names) if sections else None,
    }
