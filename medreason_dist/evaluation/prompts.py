"""How a benchmark's question is put to a model, zero-shot: a template's version changes with its meaning."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from medreason_dist.config import EvaluateConfig, EvaluatePrompt
from medreason_dist.engines.base import Choice, Constraint, Message, Regex


@dataclass(frozen=True)
class Template:
    """The instructions (``system``; None for a chat without such a message) and the form of the question (``user``)."""

    name: EvaluatePrompt
    version: str
    system: str | None
    user: str
    several: str
    """What follows a question of which several options are right."""

    @property
    def sha256(self) -> str:
        """Digest (64 hex digits) of all texts."""
        return hashlib.sha256(f"{self.system}\n{self.user}\n{self.several}".encode()).hexdigest()

    @property
    def row(self) -> dict[str, str]:
        """The ``prompt`` column."""
        return {"name": self.name.value, "version": self.version, "sha256": self.sha256}

    def messages(self, question: Mapping[str, Any]) -> tuple[Message, ...]:
        """Returns the chat for a row of QUESTIONS; its context, if any, stands before it."""
        user = self.user.format(
            context=f"Context: {question['context']}\n\n" if question["context"] else "",
            passage=f"{question['context']}\n\n" if question["context"] else "",
            question=question["question"],
            options="\n".join(f"{option['label']}. {option['text']}" for option in question["options"]),
            several=self.several if has_several_right(question) else "",
        )
        system = (Message("system", self.system),) if self.system else ()
        return *system, Message("user", user)

    def constraint(self, question: Mapping[str, Any]) -> Constraint | None:
        """Returns the form that the completion must have: none, but for ``direct``."""
        if self.name is not EvaluatePrompt.direct:
            return None
        labels = tuple(option["label"] for option in question["options"])
        if has_several_right(question):
            letters = f"[{''.join(labels)}]"
            return Regex(f"{letters}(,{letters}){{0,{len(labels) - 1}}}")
        return Choice(labels)


def has_several_right(question: Mapping[str, Any]) -> bool:
    """Whether more than one option is right: which, the model is not told."""
    return "," in (question["answer_label"] or "")


REASONED = Template(
    EvaluatePrompt.reasoned,
    "1",
    "You are a medical expert who answers a multiple-choice question. Reason step by step: what the question tells, what "
    "that means, and what speaks for and against each option. Then decide for one option. End with one line of this form, "
    "with the letter of your option in place of X, and write nothing after it:\n\nAnswer: X",
    "{context}Question: {question}\n\nOptions:\n{options}{several}",
    "\n\nSeveral options are right. Give all their letters in the last line, joined by commas.",
)

PLAIN = Template(
    EvaluatePrompt.plain,
    "1",
    None,
    "{context}Answer this multiple-choice question:\n{question}\n{options}\n{several}",
    "Several options are right.\n",
)

DIRECT = Template(
    EvaluatePrompt.direct,
    "1",
    "You are a medical expert who answers a multiple-choice question. Reply with the letter of the right option and "
    "nothing else.",
    "{context}Question: {question}\n\nOptions:\n{options}{several}",
    "\n\nSeveral options are right. Reply with all their letters, joined by commas.",
)

CHAT = Template(
    EvaluatePrompt.chat,
    "1",
    None,
    "{passage}{question}\n\n{options}{several}",
    "\n\nSeveral options are right.",
)

TEMPLATES: Final[Mapping[EvaluatePrompt, Template]] = {each.name: each for each in (REASONED, PLAIN, DIRECT, CHAT)}


def find_template(config: EvaluateConfig) -> Template:
    """Returns the template that a config asks with."""
    template = TEMPLATES[config.prompt]
    return replace(template, system=config.system_prompt) if config.system_prompt else template
