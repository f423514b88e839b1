"""Asking: one question's requests to the engines, seeded, metered, and their failures as typed rejections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medreason_dist.engines.base import Constraint, Engine, FinishReason, Message, Request, replace_surrogates
from medreason_dist.errors import EngineDead, EngineError, PromptTooLong
from medreason_dist.ids import derive_seed
from medreason_dist.reasoning.records import Rejected
from medreason_dist.schemas import RejectReason, Stage


@dataclass
class Ask:
    """Sends requests for the question ``question_id`` and counts, by stage, requests and tokens in ``usage``."""

    question_id: str
    run_seed: int
    usage: dict[Stage, dict[str, Any]] = field(default_factory=dict)

    async def __call__(
        self,
        engine: Engine,
        stage: Stage,
        messages: Sequence[Message],
        constraint: Constraint,
        max_tokens: int,
        temperature: float = 0.0,
        sampling_params: Mapping[str, Any] | None = None,
        attempt: int = 1,
    ) -> str:
        """Returns the completion's text.

        Raises :class:`Rejected` with ``too_long``, ``truncated`` or ``engine_error``, and
        :class:`~medreason_dist.errors.EngineDead`.
        """
        seed = derive_seed(self.run_seed, self.question_id, stage, attempt)
        request = Request(stage, tuple(messages), max_tokens, temperature, seed, constraint, sampling_params or {})
        try:
            completion = await engine.complete(request)
        except EngineDead:
            raise
        except PromptTooLong as error:
            raise Rejected(RejectReason.too_long, _describe(stage, error)) from None
        except EngineError as error:
            raise Rejected(RejectReason.engine_error, _describe(stage, error)) from None
        zero = {"stage": stage, "requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "replayed_tokens": 0}
        used = self.usage.setdefault(stage, zero)
        used["requests"] += 1
        if completion.replayed:
            used["replayed_tokens"] += completion.prompt_tokens + completion.completion_tokens
        else:
            used["prompt_tokens"] += completion.prompt_tokens
            used["completion_tokens"] += completion.completion_tokens
        if completion.finish_reason is FinishReason.length:
            raise Rejected(RejectReason.truncated, f"{stage}: the completion ended by its limit of {max_tokens} tokens")
        return completion.text


def _describe(stage: Stage, error: EngineError) -> str:
    # An endpoint's own words: of any length, and not always Unicode.
    return replace_surrogates(f"{stage}: {error!s:.1000}")
