"""The small real model, what vLLM needs to run it on a CPU, and requests for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tokenizers import Tokenizer

from medreason_dist.config import EngineConfig
from medreason_dist.engines.base import Constraint, Message, Request
from medreason_dist.schemas import Stage
from tests.conftest import ROOT

MODEL = ROOT / ".models" / "SmolLM2-135M-Instruct"
MAX_MODEL_LEN = 2048
CONFIG = EngineConfig(
    model=str(MODEL),
    max_model_len=MAX_MODEL_LEN,
    enforce_eager=True,
    env={"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"},
)
WARNINGS = (
    # torch.compile, which vLLM's import touches, imports torch's own mkldnn module with its deprecated decorators.
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
)


def ask(content: str, constraint: Constraint | None = None, **changes: Any) -> Request:
    messages = (Message("system", "You are a helpful assistant."), Message("user", content))
    return replace(Request(Stage.trace, messages, max_tokens=64, constraint=constraint), **changes)


def count_prompt_tokens(messages: Sequence[Message]) -> int:
    """Returns the tokens of a prompt as SmolLM2's template words it, by the tokenizer alone."""
    turns = [f"<|im_start|>{message.role}\n{message.content}<|im_end|>\n" for message in messages]
    return count_tokens("".join(turns) + "<|im_start|>assistant\n")


def count_tokens(text: str) -> int:
    return len(Tokenizer.from_file(str(MODEL / "tokenizer.json")).encode(text, add_special_tokens=False).ids)
