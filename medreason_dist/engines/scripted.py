"""Scripted completions, for tests: rules decide the text, and where none applies the least text that has the form.

A script may also say how long a completion takes, where each is to be noted down, and what ends the process or never
comes back, so that faults are tried without a model.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from medreason_dist.engines.base import Choice, Completion, FinishReason, JsonSchema, Request, replace_surrogates
from medreason_dist.errors import EngineError, ModelError
from medreason_dist.schemas import Stage

Reply = Callable[[Request], str | None]
"""Returns the text for a request, or None to leave it to :func:`least_text`."""


class ScriptedEngine:
    """Completes a request with ``reply``; token counts are a quarter of the bytes."""

    def __init__(
        self, reply: Reply | None = None, model: str = "scripted", delay_s: float = 0.0, ledger: str | None = None
    ) -> None:
        self.model = model
        self._reply = reply or (lambda request: None)
        self._delay_s = delay_s
        self._ledger = ledger

    @classmethod
    def from_file(cls, path: str) -> ScriptedEngine:
        """Returns an engine with the script of a JSON file, or without one for an empty path.

        The script is a list of rules ``{"stage": …, "contains": …, "text": …}``: the first whose ``stage`` is the request's
        and whose ``contains``, if any, stands in the request's messages gives the text; ``"does": "die"`` in place of a
        text ends the process, ``"does": "hang"`` never completes. Or an object that has the list as ``rules`` beside
        ``delay_s`` (seconds that a completion takes) and ``ledger`` (a file that gets a line for each request as it begins:
        stage, seed, tokens that it will have taken, process, time in seconds since the epoch).
        """
        if not path:
            return cls()
        try:
            script = json.loads(Path(path).read_text(encoding="utf-8"))
            script = script if isinstance(script, dict) else {"rules": script}
            rules = [_parse_rule(rule) for rule in script["rules"]]
            return cls(partial(_apply, rules), path, float(script.get("delay_s", 0)), script.get("ledger"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            what = f"the script cannot be read: {type(error).__name__}: {error}"
            raise ModelError(what, path, "give a JSON list of objects with stage, contains and text") from None

    async def complete(self, request: Request) -> Completion:
        """See :meth:`medreason_dist.engines.base.Engine.complete`."""
        text = self._reply(request)
        if text == _HANG:
            await asyncio.Event().wait()
        text = least_text(request) if text is None else replace_surrogates(text)
        tokens = self.count_tokens(text)
        completion = Completion(
            text=text,
            finish_reason=FinishReason.length if tokens > request.max_tokens else FinishReason.stop,
            prompt_tokens=sum(self.count_tokens(message.content) for message in request.messages),
            completion_tokens=min(tokens, request.max_tokens),
        )
        if self._ledger:
            spent = completion.prompt_tokens + completion.completion_tokens
            # One write of a short line to a file that is open for appending is whole, whoever else appends.
            with Path(self._ledger).open("a", encoding="utf-8") as file:
                file.write(f"{request.stage} {request.seed} {spent} {os.getpid()} {time.time():.3f}\n")
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        return completion

    def count_tokens(self, text: str) -> int:
        """Returns a quarter of the bytes."""
        return len(text.encode()) // 4

    async def close(self) -> None:
        """Does nothing."""


class _Rule(NamedTuple):
    """A line of a script."""

    stage: Stage
    contains: str
    text: str


_DIE, _HANG = "\0die", "\0hang"


def _parse_rule(rule: Mapping[str, Any]) -> _Rule:
    text = {"die": _DIE, "hang": _HANG}[rule["does"]] if "does" in rule else str(rule["text"])
    return _Rule(Stage(rule["stage"]), str(rule.get("contains", "")), text)


def _apply(rules: Sequence[_Rule], request: Request) -> str | None:
    asked = "\n".join(message.content for message in request.messages)
    for rule in rules:
        if rule.stage == request.stage and rule.contains in asked:
            if rule.text == _DIE:
                os.kill(os.getpid(), signal.SIGKILL)
            return rule.text
    return None


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
