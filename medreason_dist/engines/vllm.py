"""vLLM inside the worker: one AsyncLLM serves all stages of all questions in flight by continuous batching."""

from __future__ import annotations

import asyncio
import itertools
import os
from dataclasses import replace
from typing import Any

from medreason_dist.config import EngineConfig, StorageConfig
from medreason_dist.engines.base import Choice, Completion, Constraint, FinishReason, JsonSchema, Request
from medreason_dist.engines.chat import Chat
from medreason_dist.engines.models import fetch_model, require_model
from medreason_dist.errors import EngineDead, EngineError, ModelError, PromptTooLong
from medreason_dist.schemas import Stage

_OURS = frozenset(
    """kind temperature sampling_params base_url api_key_env max_concurrency request_timeout_s stall_timeout_s
    max_retries structured_outputs vllm_args env""".split()
)
"""Fields of :class:`EngineConfig` that are not vLLM's."""


class VLLMEngine:
    """A model in this process's care. vLLM runs it in processes of its own, which :meth:`close` ends."""

    def __init__(self, config: EngineConfig, storage: StorageConfig | None = None) -> None:
        require_model(config.model, storage)
        # vLLM reads its environment when it is imported.
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        os.environ.update(config.env)
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        local = replace(config, model=fetch_model(config.model, storage))
        arguments = engine_args(local, on_cpu=current_platform.is_cpu())
        try:
            sampling_params(Request(Stage.trace, (), 1, config.temperature, sampling_params=config.sampling_params))
            self._engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
            tokenizer: Any = self._engine.get_tokenizer()
        except Exception as error:
            remedy = "check engine.model and the engine's other keys; vLLM's own words are in Ray's log of the worker"
            raise ModelError(f"vLLM cannot load the model: {error}", config.model, remedy) from error
        if not getattr(tokenizer, "chat_template", None):
            self._engine.shutdown()
            raise ModelError("the model's tokenizer has no chat template", config.model, "use an instruct model")
        try:
            self._chat = Chat(tokenizer)
        except EngineError as error:
            self._engine.shutdown()
            what = f"the model's chat template takes no system's and user's message: {error}"
            raise ModelError(what, config.model, "use another instruct model") from error
        self.model = config.model
        self._timeout_s = config.request_timeout_s
        self._max_model_len: int = self._engine.model_config.max_model_len
        self._numbers = itertools.count()

    async def complete(self, request: Request) -> Completion:
        """See :meth:`medreason_dist.engines.base.Engine.complete`."""
        from vllm.inputs.engine import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError

        token_ids = self._chat.render(request.messages)
        if len(token_ids) + request.max_tokens > self._max_model_len:
            wanted = f"{len(token_ids)} prompt tokens and {request.max_tokens} to come"
            raise PromptTooLong(f"{wanted} exceed the model's {self._max_model_len}")
        try:
            sampling = sampling_params(request)
            async with asyncio.timeout(self._timeout_s):
                outputs = self._engine.generate(tokens_input(token_ids), sampling, str(next(self._numbers)))
                final = [output async for output in outputs][-1]
        except EngineDeadError as error:
            raise EngineDead(f"vLLM's engine died: {error}") from error
        except TimeoutError:
            raise EngineError(f"no completion within {self._timeout_s:.0f} s") from None
        except Exception as error:
            if self._engine.errored:
                raise EngineDead(f"vLLM's engine died: {error}") from error
            raise EngineError(f"{type(error).__name__}: {error}") from error
        output = final.outputs[0]
        return Completion(
            text=output.text,
            finish_reason=FinishReason.length if output.finish_reason == "length" else FinishReason.stop,
            prompt_tokens=len(final.prompt_token_ids),
            completion_tokens=len(output.token_ids),
        )

    def count_tokens(self, text: str) -> int:
        """Returns how many tokens ``text`` takes."""
        return self._chat.count_tokens(text)

    async def close(self) -> None:
        """Ends vLLM's process."""
        self._engine.shutdown()


def engine_args(config: EngineConfig, on_cpu: bool) -> dict[str, Any]:
    """Returns vLLM's ``EngineArgs`` for a config: fields that are null are left to vLLM."""
    given = {name: value for name, value in vars(config).items() if name not in _OURS and value is not None}
    defaults = {
        # guidance is the backend that compiles bounded repetitions of a regular expression lazily, and, told so, writes
        # JSON without the white space in which small models get lost.
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        "disable_log_stats": True,
    }
    if on_cpu:
        # vLLM 0.32 rewinds the random generator of a seeded request whose prompt is prefilled in parts, which torch's CPU
        # generator cannot: «CPU Generator does not use offset», and the engine is dead.
        defaults["enable_chunked_prefill"] = False
    return {**defaults, **given, **config.vllm_args}


def sampling_params(request: Request) -> Any:
    """Returns vLLM's ``SamplingParams`` for a request; raises for one that vLLM does not know or takes, or given twice."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=request.temperature,
        max_tokens=request.max_tokens,
        seed=request.seed,
        output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=structured_outputs(request.constraint),
        **request.sampling_params,
    )


def structured_outputs(constraint: Constraint | None) -> Any:
    """Returns vLLM's ``StructuredOutputsParams`` for a constraint."""
    from vllm.sampling_params import StructuredOutputsParams

    match constraint:
        case None:
            return None
        case Choice(options):
            return StructuredOutputsParams(choice=list(options))
        case JsonSchema(schema):
            return StructuredOutputsParams(json=dict(schema))
    return StructuredOutputsParams(regex=constraint.pattern)
