"""Scripted completions, for tests: rules decide the text, and where none applies the least text that has the form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medreason_dist.engines.base import Choice, Completion, FinishReason, JsonSchema, Request
from medreason_dist.errors import EngineError, ModelError
from medreason_dist.schemas import Stage

Reply = Callable[[Request], str | None]
"""Returns the text for a request, or None to leave it to :func:`least_text`."""


class ScriptedEngine:
    """Completes a request with ``reply``; token counts are a quarter of the bytes."""

    def __init__(self, reply: Reply | None = None, model: str = "scripted", delay_s: float = 0.0) -> None:
        self.model = model
        self._reply = reply or (lambda request: None)
        self._delay_s = delay_s

    @classmethod
    def from_file(cls, path: str) -> ScriptedEngine:
        """Returns an engine with the rules of a JSON file, or without rules for an empty path.

        The file is a list of ``{"stage": …, "contains": …, "text": …}``: the first whose ``stage`` is the request's and
        whose ``contains``, if any, stands in the request's messages gives the text.
        """
        if not path:
            return cls()
        try:
            rules = json.loads(Path(path).read_text(encoding="utf-8"))
            parsed = [(Stage(rule["stage"]), str(rule.get("contains", "")), str(rule["text"])) for rule in rules]
        except (OSError, ValueError, KeyError, TypeError) as error:
            what = f"the script cannot be read: {type(error).__name__}: {error}"
            raise ModelError(what, path, "give a JSON list of objects with stage, contains and text") from None

        def reply(request: Request) -> str | None:
            asked = "\n".join(message.content for message in request.messages)
            return next((text for stage, part, text in parsed if stage == request.stage and part in asked), None)

        return cls(reply, model=path)

    async def complete(self, request: Request) -> Completion:
        """See :meth:`medreason_dist.engines.base.Engine.complete`."""
        await asyncio.sleep(self._delay_s)
        text = self._reply(request)
        if text is None:
            text = least_text(request)
        tokens = self.count_tokens(text)
        return Completion(
            text=text,
            finish_reason=FinishReason.length if tokens > request.max_tokens else FinishReason.stop,
            prompt_tokens=sum(self.count_tokens(message.content) for message in request.messages),
            completion_tokens=min(tokens, request.max_tokens),
        )

    def count_tokens(self, text: str) -> int:
        """Returns a quarter of the bytes."""
        return len(text.encode()) // 4

    async def close(self) -> None:
        """Does nothing."""


def least_text(request: Request) -> str:
    """Returns the least text that has the request's form: first choice, first enum value, shortest list."""
    match request.constraint:
        case Choice(options):
            return options[0]
        case JsonSchema(schema):
            return json.dumps(_least_value(schema))
    raise EngineError(f"the script has no text for the stage {request.stage}")


def _least_value(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "array":
        return [_least_value(schema["items"])] * schema.get("minItems", 0)
    if schema["type"] == "object":
        return {name: _least_value(value) for name, value in schema["properties"].items()}
    return "x" * schema.get("minLength", 0)
