"""The prompts: fixed instructions first, the question after them, so that questions share a prefix in the engine's cache.

A template's ``version`` changes with its meaning; its ``sha256`` is of the text itself. Both go into every trace row.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from medreason_dist.config import Method
from medreason_dist.engines.base import Message
from medreason_dist.reasoning.records import Question
from medreason_dist.schemas import NodeType, Stage

_HEADING = re.compile(
    r"(?<=[\n\r\v\f\x85\u2028\u2029])(?=[ \t]*(?:#+[ \t]*(?:paths|reasoning|conclusion)\b|"
    r"(?:context|question|options|answer|reference answer|reasoning|facts|(?:name|group) \d+):))",
    re.IGNORECASE,
)
"""The start of a line that is one of the headings below, but for the first line, which stands behind one."""


@dataclass(frozen=True)
class Template:
    """The instructions of one stage (``system``) and the form of its input (``user``, with ``{fields}``)."""

    stage: Stage
    version: str
    system: str
    user: str

    @property
    def sha256(self) -> str:
        """Digest (64 hex digits) of both texts."""
        return hashlib.sha256(f"{self.system}\n{self.user}".encode()).hexdigest()

    def messages(self, **fields: str) -> tuple[Message, ...]:
        """Returns the chat for one question."""
        return Message("system", self.system), Message("user", self.user.format(**fields))


EXTRACT = Template(
    Stage.extract,
    "1",
    "You find the biomedical entities that a question and its answer name. Copy each name as it stands in the text and "
    f"give its type, one of: {', '.join(NodeType)}. List names of diseases, drugs, genes, symptoms, body parts and the "
    "like; leave out ages, numbers and general words. Reply with JSON.",
    "Question: {question}\n\nAnswer: {answer}",
)

LINK = Template(
    Stage.link,
    "1",
    "You match names from a medical question to the nodes of a knowledge graph. For each numbered name, choose the number "
    "of the node that means the same thing in this question, or 0 if none of its nodes does. Reply with JSON.",
    "Question: {question}\n\nAnswer: {answer}\n\n{names}",
)

PRUNE = Template(
    Stage.prune,
    "1",
    "You are given a medical question, its answer, and groups of numbered paths through a knowledge graph. A path is a "
    "chain of facts: A —[relation]→ B. For each group, choose the numbers of the paths that explain best why the question "
    "has this answer, the best first. Leave out paths that only pass through something general. Reply with JSON.",
    "{groups}\n\nQuestion: {question}\n\nAnswer: {answer}\n\nChoose up to {top_k} of each group.",
)

TRACE = Template(
    Stage.trace,
    "1",
    "You are a medical expert who reasons from a knowledge graph. You are given a question and facts from the graph: "
    "A —[relation]→ B means that the relation holds between A and B. Reason step by step: start from what the question "
    "says, use the facts that bear on it, and end with an answer. Write full sentences. Say so where a fact does not help, "
    "or where knowledge beyond the facts is needed.\n\n"
    "Write three sections:\n### Paths\n### Reasoning\n### Conclusion\n"
    "Under Paths, restate the facts that you use. Under Reasoning, explain each step. Under Conclusion, give the answer.",
    "{question}\n\nFacts:\n{paths}",
)

PLAIN_TRACE = Template(
    Stage.trace,
    "plain 1",
    "You are a medical expert. You are given a question. Reason step by step: start from what the question says, bring in "
    "the medical knowledge that bears on it, and end with an answer. Write full sentences. Say so where a step is "
    "uncertain.\n\n"
    "Write two sections:\n### Reasoning\n### Conclusion\n"
    "Under Reasoning, explain each step. Under Conclusion, give the answer.",
    "{question}",
)

ANSWER = Template(
    Stage.answer,
    "1",
    "You answer a medical question from a colleague's reasoning alone. Do not use knowledge of your own. Give the answer "
    "that the reasoning supports best, in the form that is asked for, and nothing else.",
    "Reasoning:\n{reasoning}\n\n{question}\n\n{form}",
)

JUDGE = Template(
    Stage.judge,
    "1",
    "You compare an answer to a medical question with the reference answer. It is correct if it says the same in "
    "substance, in whatever words; it is incorrect if it says something else, less than what was asked, or contradicts the "
    "reference. Reply with one word: correct or incorrect.",
    "Question: {question}\n\nReference answer: {reference}\n\nAnswer: {answer}",
)

TEMPLATES: Mapping[Method, Mapping[Stage, Template]] = {
    Method.medreason: {t.stage: t for t in (EXTRACT, LINK, PRUNE, TRACE, ANSWER, JUDGE)},
    Method.plain_cot: {t.stage: t for t in (PLAIN_TRACE, ANSWER, JUDGE)},
}


def prompt_rows(method: Method, stages: Iterable[Stage]) -> list[dict[str, str]]:
    """Returns the ``prompts`` column for the stages of a method that ran."""
    ran = [TEMPLATES[method][stage] for stage in Stage if stage in set(stages)]
    return [{"stage": t.stage, "version": t.version, "sha256": t.sha256} for t in ran]


def quote_headings(question: Question) -> Question:
    """Returns a question in whose texts no line passes for a heading of a prompt or of a trace: ``> ### Conclusion``."""
    return replace(
        question,
        question=_quote(question.question),
        context=_quote(question.context) if question.context else question.context,
        options={label: _quote(text) for label, text in question.options.items()},
        answer=_quote(question.answer),
        answer_context=_quote(question.answer_context) if question.answer_context else question.answer_context,
    )


def answer_form(options: bool, several: bool) -> str:
    """Returns what the form of an answer is, in words."""
    if several:
        return "Several options are right. Reply with JSON that lists their letters."
    return "Reply with the letter of one option." if options else "Reply in one line."


def with_options(question: str, options: Mapping[str, str], context: str | None = None) -> str:
    """Returns a question as text, with its context before it and its lettered options after it."""
    parts = [f"Context: {context}"] if context else []
    parts.append(f"Question: {question}")
    if options:
        parts.append("Options:\n" + "\n".join(f"{label}. {text}" for label, text in options.items()))
    return "\n\n".join(parts)


def name_choices(choices: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Returns the ambiguous names as text; ``choices`` holds a mention and its candidates' descriptions."""
    return "\n\n".join(
        f"Name {number}: {mention}\n0. none of these\n"
        + "\n".join(f"{index}. {candidate}" for index, candidate in enumerate(candidates, 1))
        for number, (mention, candidates) in enumerate(choices, 1)
    )


def path_groups(groups: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Returns the groups of candidate paths as text; ``groups`` holds a title and its paths' descriptions."""
    return "\n\n".join(
        f"Group {number}: {title}\n" + "\n".join(f"{index}. {path}" for index, path in enumerate(paths, 1))
        for number, (title, paths) in enumerate(groups, 1)
    )


def _quote(text: str) -> str:
    return _HEADING.sub("> ", text)
