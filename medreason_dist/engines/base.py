"""What the program asks of an engine, and what it gets back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from medreason_dist.schemas import Stage


@dataclass(frozen=True)
class Message:
    """One message of a chat. ``role`` is ``system`` or ``user``."""

    role: str
    content: str


@dataclass(frozen=True)
class Choice:
    """The completion is one of ``options``."""

    options: tuple[str, ...]


@dataclass(frozen=True)
class JsonSchema:
    """The completion is JSON that fits ``schema``."""

    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Regex:
    """The completion matches ``pattern`` as a whole."""

    pattern: str


Constraint = Choice | JsonSchema | Regex


@dataclass(frozen=True)
class Request:
    """One prompt, how to sample its completion, and the form that the completion must have."""

    stage: Stage
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    constraint: Constraint | None = None
    sampling_params: Mapping[str, Any] = field(default_factory=dict)
    """Any other sampling parameters by vLLM's names."""


class FinishReason(StrEnum):
    """Why a completion ended."""

    stop = "stop"
    length = "length"


@dataclass(frozen=True)
class Completion:
    """What came back. Token counts are the engine's own."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    replayed: bool = False
    """Whether it was kept from an earlier start of the run, so that its tokens are not spent again."""


class Engine(Protocol):
    """Completes requests, many at once. Implementations: vllm.py, openai.py, scripted.py."""

    model: str
    """The model's name, as it goes into each trace."""

    async def complete(self, request: Request) -> Completion:
        """Returns the completion.

        Raises :class:`~medreason_dist.errors.PromptTooLong` where prompt and ``max_tokens`` exceed the context,
        :class:`~medreason_dist.errors.EngineDead` where no request will complete again, and
        :class:`~medreason_dist.errors.EngineError` for anything else that one request may meet.
        """

    def count_tokens(self, text: str) -> int:
        """Returns how many tokens ``text`` takes: exact for vLLM, estimated where the tokenizer is not at hand."""

    async def close(self) -> None:
        """Frees what the engine holds."""


def replace_surrogates(text: str) -> str:
    """Returns ``text`` with U+FFFD for each lone surrogate: JSON may hold them, UTF-8 and so Parquet cannot."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)
