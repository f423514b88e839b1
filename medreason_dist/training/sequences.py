"""Conversations as token ids, and which of them count: ``sequences/<split>.parquet``, columns of :data:`SEQUENCES`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from medreason_dist.config import Config, FinetuneConfig
from medreason_dist.engines.base import Message
from medreason_dist.engines.chat import Chat
from medreason_dist.engines.models import fetch_model, require_model
from medreason_dist.errors import ConfigError, EngineError, ModelError, SourceError

SEQUENCES: Final = pa.schema(
    {
        "question_id": pa.string(),
        "input_ids": pa.list_(pa.int32()),
        "completion_mask": pa.list_(pa.int8()),
    }
)
"""A conversation's tokens, and for each whether it is of the assistant's part (1) or only read (0): TRL's names."""


class Tokenizer:
    """A model's tokenizer and chat template, for conversations that end with the assistant's message.

    Raises :class:`ModelError` where there is none, or its template cannot be learned from.
    """

    def __init__(self, config: FinetuneConfig) -> None:
        self.tokenizer = load_tokenizer(config)
        self._model = config.model
        try:
            self._chat = Chat(self.tokenizer, ("user", "assistant"))
        except EngineError as error:
            what = f"the chat template takes no user's and assistant's message: {error}"
            raise ModelError(what, self._model, "give another finetune.chat_template") from error

    def encode(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """Returns a conversation's token ids, and the mask of those that are learned.

        Raises :class:`ModelError` for a template by which the answer does not follow what the engine would be given, or
        does not end.
        """
        prompt, whole = self._chat.render(messages[:-1]), self._chat.render(messages)
        if whole[: len(prompt)] != prompt:
            what = "the chat template renders a question otherwise once its answer follows"
            raise ModelError(what, self._model, "give another finetune.chat_template, such as one without <think>")
        if not self._chat.ends_turn(whole):
            what = "the chat template ends an answer with no special token: the model would not learn to stop"
            raise ModelError(what, self._model, "give another finetune.chat_template")
        return whole, [0] * len(prompt) + [1] * (len(whole) - len(prompt))


def with_local_model(config: Config) -> FinetuneConfig:
    """Returns ``finetune`` with the model's folder on this machine where it is at ``s3://``.

    Raises :class:`ModelError` where there is none.
    """
    require_model(config.finetune.model, config.storage, "finetune.model")
    return replace(config.finetune, model=fetch_model(config.finetune.model, config.storage))


def load_tokenizer(config: FinetuneConfig) -> Any:
    """Returns the model's tokenizer with the config's chat template; :class:`ModelError` where it has none."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            config.model, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"the tokenizer cannot be loaded: {error}", config.model, "check finetune.model") from error
    if config.chat_template is not None:
        tokenizer.chat_template = _read_template(config.chat_template)
    if not tokenizer.chat_template:
        remedy = "fine-tune an instruct model, or give a template by finetune.chat_template=FILE"
        raise ModelError("the model's tokenizer has no chat template", config.model, remedy)
    return tokenizer


def require_length(config: FinetuneConfig) -> None:
    """Raises :class:`ConfigError` where rows would be longer than the model takes, :class:`ModelError` for no model."""
    from transformers import AutoConfig

    try:
        model = AutoConfig.from_pretrained(
            config.model, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"the model cannot be loaded: {error}", config.model, "check finetune.model") from error
    longest = getattr(model.get_text_config(), "max_position_embeddings", None)
    if longest is not None and config.max_length > longest:
        what = f"config key 'finetune.max_length' is {config.max_length}, the model takes {longest} tokens"
        raise ConfigError(what, config.model, f"set finetune.max_length={longest} or less")


def encode_chats(
    chats: Mapping[str, Sequence[Message]], tokenizer: Tokenizer, max_length: int
) -> tuple[pa.Table, dict[str, int]]:
    """Returns the conversations, by question_id, as :data:`SEQUENCES`, and the lengths of those that are too long for it.

    Raises :class:`SourceError` for one that cannot be tokenised, and as :meth:`Tokenizer.encode` does.
    """
    rows, too_long = [], {}
    for question_id, messages in chats.items():
        try:
            ids, mask = tokenizer.encode(messages)
        except EngineError as error:
            where = f"question_id {question_id}"
            raise SourceError(str(error), where, "leave the question out of the dataset") from error
        if len(ids) > max_length:
            too_long[question_id] = len(ids)
        else:
            rows.append({"question_id": question_id, "input_ids": ids, "completion_mask": mask})
    return pa.Table.from_pylist(rows, SEQUENCES), too_long


def _read_template(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        remedy = "correct finetune.chat_template"
        raise ConfigError(f"the chat template cannot be read: {error}", file, remedy) from error
