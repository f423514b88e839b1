"""Any endpoint that speaks the OpenAI chat completions protocol. Retries and backoff are the client library's."""

from __future__ import annotations

import asyncio
import math
import os
import re
from http import HTTPStatus
from typing import Any

import openai

from medreason_dist.config import EngineConfig, StructuredOutputs
from medreason_dist.engines.base import (
    Choice,
    Completion,
    Constraint,
    FinishReason,
    JsonSchema,
    Regex,
    Request,
    replace_surrogates,
)
from medreason_dist.engines.special_tokens import CONTROL_STRINGS, break_tokens
from medreason_dist.errors import EngineError, ModelError, PromptTooLong

_BYTES_A_TOKEN = 3
"""English takes about four bytes a token, biomedical names fewer: estimates err on the safe side."""


_TOO_LONG = re.compile(r"context[ _](length|size|window)|model length|too long", re.IGNORECASE)
"""How endpoints word that a prompt exceeds the context; the protocol has no code for it that all of them send."""


class OpenAIEngine:
    """A client of the endpoint ``config.base_url``; at most ``config.max_concurrency`` requests are under way."""

    def __init__(self, config: EngineConfig) -> None:
        if not config.model:
            raise ModelError("engine.model is not set", remedy="set engine.model to the endpoint's name of the model")
        self.model = config.model
        self._config = config
        self._connection: dict[str, Any] = {
            "base_url": config.base_url,
            # The client refuses to start without a key; local endpoints ask for none.
            "api_key": os.environ.get(config.api_key_env) or "none",
            "timeout": config.request_timeout_s,
            "max_retries": config.max_retries,
        }
        self._max_model_len = config.max_model_len or _read_max_model_len(self._connection, config)
        self._client = openai.AsyncOpenAI(**self._connection)
        self._places = asyncio.Semaphore(config.max_concurrency)

    async def complete(self, request: Request) -> Completion:
        """See :meth:`medreason_dist.engines.base.Engine.complete`."""
        messages = [{"role": m.role, "content": break_tokens(m.content, CONTROL_STRINGS)} for m in request.messages]
        estimate = sum(self.count_tokens(message["content"]) for message in messages)
        if self._max_model_len and request.max_tokens >= self._max_model_len:
            raise PromptTooLong(f"{request.max_tokens} tokens to come exceed the {self._max_model_len} of the model")
        understood = self._config.structured_outputs
        try:
            async with self._places:
                reply = await self._client.chat.completions.create(
                    model=self.model,
                    messages=messages,  # type: ignore[arg-type]
                    max_tokens=request.max_tokens,
                    temperature=request.temperature,
                    seed=request.seed,
                    **_form_arguments(request.constraint, understood),
                    extra_body={**request.sampling_params, **_form_body(request.constraint, understood)},
                )
        except openai.BadRequestError as error:
            if _TOO_LONG.search(str(error)):
                raise PromptTooLong(f"about {estimate} prompt tokens: {error.message}") from None
            raise EngineError(f"the endpoint refuses the request: {error.message}") from None
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise _model_error(error, self._config) from None
        except (openai.OpenAIError, ValueError) as error:
            if getattr(error, "status_code", None) == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise PromptTooLong(f"about {estimate} prompt tokens: {error}") from None
            raise EngineError(f"{type(error).__name__}: {error}") from None
        try:
            choice, usage = reply.choices[0], reply.usage
            return Completion(
                text=replace_surrogates(choice.message.content or ""),
                finish_reason=FinishReason.length if choice.finish_reason == "length" else FinishReason.stop,
                prompt_tokens=_token_count(usage.prompt_tokens),  # type: ignore[union-attr]
                completion_tokens=_token_count(usage.completion_tokens),  # type: ignore[union-attr]
            )
        except (AttributeError, IndexError, TypeError, ValueError, OverflowError):
            # The client checks no reply against the protocol: a page of HTML comes back as text.
            raise EngineError(f"the endpoint's reply has no choices or no usage: {reply!r:.200}") from None

    def count_tokens(self, text: str) -> int:
        """Returns an estimate from the number of bytes."""
        return math.ceil(len(text.encode()) / _BYTES_A_TOKEN)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def _token_count(count: Any) -> int:
    """Returns a count of tokens; raises :class:`ValueError` and others for what is none."""
    if 0 <= int(count) < 2**31:
        return int(count)
    raise ValueError(count)


def _form_arguments(constraint: Constraint | None, understood: StructuredOutputs) -> dict[str, Any]:
    """Returns the protocol's own arguments that ask for a form: it knows of JSON schemas. Replies are checked anyway."""
    if not isinstance(constraint, JsonSchema) or understood is StructuredOutputs.none:
        return {}
    schema = {"name": "reply", "schema": dict(constraint.schema), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _form_body(constraint: Constraint | None, understood: StructuredOutputs) -> dict[str, Any]:
    """Returns what vLLM understands beside it: choices and regular expressions."""
    if understood is StructuredOutputs.vllm:
        match constraint:
            case Choice(options):
                return {"structured_outputs": {"choice": list(options)}}
            case Regex(pattern):
                return {"structured_outputs": {"regex": pattern}}
    return {}


def _read_max_model_len(connection: dict[str, Any], config: EngineConfig) -> int | None:
    """Returns the context length that the endpoint tells (vLLM does), having made sure that it serves the model."""
    try:
        with openai.OpenAI(**connection) as client:
            served = {model.id: model for model in client.models.list()}
    except openai.OpenAIError as error:
        raise _model_error(error, config) from None
    except (ValueError, AttributeError):
        # The client trips over whatever is not the protocol's JSON.
        what = "the endpoint does not speak the OpenAI protocol"
        raise ModelError(what, str(config.base_url), "check engine.base_url: it mostly ends in /v1") from None
    if config.model not in served:
        what = f"the endpoint does not serve '{config.model}' but {', '.join(sorted(served)) or 'nothing'}"
        raise ModelError(what, str(config.base_url), "correct engine.model")
    length = getattr(served[config.model], "max_model_len", None)
    return int(length) if length else None


def _model_error(error: openai.OpenAIError, config: EngineConfig) -> ModelError:
    where = str(config.base_url or "OpenAI's endpoint")
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return ModelError("the endpoint denies access", where, f"set the environment variable {config.api_key_env}")
    return ModelError(f"the endpoint cannot be used: {error}", where, "check engine.base_url and engine.model")
