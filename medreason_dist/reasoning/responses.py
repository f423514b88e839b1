"""Responses: the form that a stage's completion must have, and the way from its text to a record or a rejection.

Forms are given to the engine as constraints. They are checked here all the same: an endpoint may ignore a constraint,
and a completion may end by its token limit in the midst of one.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medreason_dist.engines.base import Choice, JsonSchema, Regex
from medreason_dist.reasoning.records import Mention, Rejected, TraceSections
from medreason_dist.schemas import NodeType, RejectReason, Side, Stage

HEADINGS: Final[tuple[str, ...]] = ("### Paths", "### Reasoning", "### Conclusion")
PLAIN_HEADINGS: Final = HEADINGS[1:]
"""Of a trace that was not written from paths."""
CORRECT, INCORRECT = "correct", "incorrect"

_NODE_TYPES = frozenset(NodeType)
_MENTIONS_A_SIDE = 6
_NAME_CHARACTERS = 80
_SENTENCE = r"[^#.!?\n]{0,400}"
_HEADING = re.compile(r"^[^\S\n]*#+\s|###", re.MULTILINE)


def mentions_form() -> JsonSchema:
    """Returns the form of :func:`parse_mentions`: names with types from the closed list, for each side."""
    name = {"type": "string", "minLength": 2, "maxLength": _NAME_CHARACTERS}
    entity = _object({"name": name, "type": {"enum": [str(t) for t in NodeType]}})
    side = {"type": "array", "items": entity, "maxItems": _MENTIONS_A_SIDE}
    return JsonSchema(_object({Side.question.value: side, Side.answer.value: side}))


def parse_mentions(text: str, texts: Mapping[Side, str]) -> list[Mention]:
    """Returns the mentions that the engine extracted, as many as the form admits, but for those that do not stand, as
    whole words, in the text of their side: names that it made up, and names that the form's bound cut off."""
    value = _parse_json(Stage.extract, text)
    mentions = []
    for side in Side:
        for item in _typed(Stage.extract, value.get(side.value), list)[:_MENTIONS_A_SIDE]:
            entity = _typed(Stage.extract, item, dict)
            name, node_type = entity.get("name"), entity.get("type")
            if not isinstance(name, str) or not isinstance(node_type, str) or node_type not in _NODE_TYPES:
                raise Rejected(RejectReason.engine_error, f"extract: an entity does not fit the schema: {item!r:.200}")
            if _stands_in(name.strip(), texts[side]):
                mentions.append(Mention(name.strip(), side, node_type, "engine"))
    return mentions


def choices_form(candidate_counts: Sequence[int]) -> JsonSchema:
    """Returns the form of :func:`parse_choices`: for each name, 0 or the number of one of its candidates."""
    return JsonSchema(
        _object({str(i): {"enum": list(range(count + 1))} for i, count in enumerate(candidate_counts, 1)})
    )


def parse_choices(text: str, candidate_counts: Sequence[int]) -> list[int]:
    """Returns the choice for each name, 0 for none."""
    value = _parse_json(Stage.link, text)
    choices = [value.get(str(number)) for number in range(1, len(candidate_counts) + 1)]
    for choice, count in zip(choices, candidate_counts, strict=True):
        if type(choice) is not int or not 0 <= choice <= count:
            raise Rejected(RejectReason.engine_error, f"link: {choice!r:.100} is not a number from 0 to {count}")
    return [choice for choice in choices if choice is not None]


def kept_form(path_counts: Sequence[int], top_k: int) -> JsonSchema:
    """Returns the form of :func:`parse_kept`: for each group, up to ``top_k`` numbers of its paths."""
    groups = {
        str(i): {"type": "array", "items": {"enum": list(range(1, count + 1))}, "maxItems": top_k}
        for i, count in enumerate(path_counts, 1)
    }
    return JsonSchema(_object(groups))


def parse_kept(text: str, path_counts: Sequence[int], top_k: int) -> list[list[int]]:
    """Returns, for each group, the distinct numbers of the paths that the engine kept, best first."""
    value = _parse_json(Stage.prune, text)
    kept = []
    for number, count in enumerate(path_counts, 1):
        chosen: list[int] = []
        for choice in _typed(Stage.prune, value.get(str(number)), list):
            if len(chosen) == top_k:
                break
            if type(choice) is not int or not 1 <= choice <= count:
                raise Rejected(RejectReason.engine_error, f"prune: {choice!r:.100} is not a number from 1 to {count}")
            if choice not in chosen:
                chosen.append(choice)
        kept.append(chosen)
    return kept


def trace_form(section_sentences: int, headings: Sequence[str] = HEADINGS) -> Regex:
    """Returns the form of :func:`parse_trace`: the headings, each followed by up to so many sentences or lines.

    The bound stands at the end of a sentence, so that none is cut off by it. ``#`` is the headings' own.
    """
    section = rf"[^#\s](?:{_SENTENCE}[.!?\n]){{0,{section_sentences - 1}}}{_SENTENCE}[.!?]?"
    return Regex("\n".join(f"{heading}\n{section}" for heading in headings))


def parse_trace(text: str, headings: Sequence[str] = HEADINGS) -> TraceSections:
    """Returns the sections of a trace; ``malformed_trace`` where one is missing, empty or out of order, or where anything
    else looks like a heading. A section without a heading of its own in ``headings`` is empty."""
    lines = text.strip().split("\n")
    found = {
        number: line.strip().removesuffix(":").rstrip() for number, line in enumerate(lines) if line.startswith("###")
    }
    if missing := [heading for heading in headings if heading not in found.values()]:
        raise Rejected(RejectReason.malformed_trace, f"no heading {', '.join(missing)} in {text!r:.200}")
    if tuple(found.values()) != tuple(headings) or 0 not in found:
        what = "the headings are out of order, doubled, not alone or not at the start"
        raise Rejected(RejectReason.malformed_trace, f"{what} in {text!r:.200}")
    starts = [*found, len(lines)]
    texts = ["\n".join(lines[start + 1 : end]).strip() for start, end in itertools.pairwise(starts)]
    sections = dict(zip(headings, texts, strict=True))
    for heading, section in sections.items():
        if not section or _HEADING.search(section):
            raise Rejected(RejectReason.malformed_trace, f"{heading} is empty or holds another heading")
    return TraceSections(*(sections.get(heading, "") for heading in HEADINGS))


def answer_form(labels: Sequence[str], several: bool) -> Choice | JsonSchema | Regex:
    """Returns the form of an answer: one label, a JSON list of labels where several are right, or one line of text."""
    if not labels:
        return Regex(r"[^\n]{1,400}")
    if not several:
        return Choice(tuple(labels))
    return JsonSchema(
        _object({"answers": {"type": "array", "items": {"enum": list(labels)}, "minItems": 1, "maxItems": len(labels)}})
    )


def parse_labels(text: str, labels: Sequence[str], several: bool) -> tuple[str, ...]:
    """Returns the labels that an answer gives, in the options' order."""
    given = _typed(Stage.answer, _parse_json(Stage.answer, text).get("answers"), list) if several else [text.strip()]
    unknown = [label for label in given if label not in labels]
    if unknown or not given:
        raise Rejected(RejectReason.engine_error, f"answer: {text!r:.100} is none of {', '.join(labels)}")
    return tuple(label for label in labels if label in given)


def parse_line(text: str) -> str:
    """Returns an open answer, its lines as one."""
    line = " ".join(part.strip() for part in text.splitlines() if part.strip())
    if not any(character.isprintable() and not character.isspace() for character in line):
        raise Rejected(RejectReason.engine_error, f"answer: the completion {text!r:.100} is empty")
    return line


def verdict_form() -> Choice:
    """Returns the form of :func:`parse_verdict`."""
    return Choice((CORRECT, INCORRECT))


def parse_verdict(text: str) -> str:
    """Returns ``correct`` or ``incorrect``."""
    verdict = text.strip().strip(".").casefold()
    if verdict not in (CORRECT, INCORRECT):
        raise Rejected(RejectReason.engine_error, f"judge: {text!r:.100} is neither {CORRECT} nor {INCORRECT}")
    return verdict


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _stands_in(name: str, text: str) -> bool:
    if not 0 < len(name) <= _NAME_CHARACTERS:
        return False
    return bool(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE))


def _parse_json(stage: Stage, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Rejected(RejectReason.engine_error, f"{stage}: the completion is not JSON: {text!r:.200}") from None
    parsed: dict[str, Any] = _typed(stage, value, dict)
    return parsed


def _typed(stage: Stage, value: Any, expected: type[Any]) -> Any:
    if not isinstance(value, expected):
        raise Rejected(RejectReason.engine_error, f"{stage}: {value!r:.100} is no JSON {expected.__name__}")
    return value
