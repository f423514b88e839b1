"""From messages to a prompt's tokens, by a model's own tokenizer and chat template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from medreason_dist.engines.base import Message
from medreason_dist.engines.special_tokens import break_tokens, compile_tokens
from medreason_dist.errors import EngineError


class Chat:
    """A Hugging Face tokenizer with a chat template. What it renders holds no special tokens but the template's own.

    Raises :class:`EngineError` where the template does not take messages of these ``roles``.
    """

    def __init__(self, tokenizer: Any, roles: Sequence[str] = ("system", "user")) -> None:
        self._tokenizer = tokenizer
        tokens = read_special_tokens(tokenizer)
        self._tokens = compile_tokens(tokens.values())
        # What the tokenizer does not know becomes its unknown token, which controls nothing.
        self._ids = frozenset(tokens) - {getattr(tokenizer, "unk_token_id", None)}
        self._template_counts: dict[tuple[str, ...], int] = {}
        self.render([Message(role, "x") for role in roles])

    def render(self, messages: Sequence[Message]) -> list[int]:
        """Returns the tokens of a chat, up to where the completion begins or, of one that ends with the assistant's message,
        all of it; raises :class:`EngineError`."""
        roles = tuple(message.role for message in messages)
        if roles not in self._template_counts:
            self._template_counts[roles] = self._count_special(self._apply_template([(role, "x") for role in roles]))
        ids = self._apply_template([(m.role, break_tokens(m.content, self._tokens)) for m in messages])
        if self._count_special(ids) != self._template_counts[roles]:
            # A tokenizer that normalises its input finds a token in other spellings too.
            raise EngineError("the prompt's text holds a special token of the model")
        return ids

    def count_tokens(self, text: str) -> int:
        """Returns how many tokens ``text`` takes in a message."""
        return len(self._tokenizer.encode(break_tokens(text, self._tokens), add_special_tokens=False))

    def ends_turn(self, ids: Sequence[int]) -> bool:
        """Whether tokens end with a special one, white space aside: without it a model never learns to stop."""
        last = next((i for i in reversed(ids) if i in self._ids or self._tokenizer.decode([i]).strip()), None)
        return last in self._ids

    def _apply_template(self, turns: Sequence[tuple[str, str]]) -> list[int]:
        chat = [{"role": role, "content": content} for role, content in turns]
        try:
            ids = self._tokenizer.apply_chat_template(
                chat, add_generation_prompt=chat[-1]["role"] != "assistant", tokenize=True, return_dict=False
            )
        except Exception as error:
            raise EngineError(f"the prompt cannot be tokenised: {type(error).__name__}: {error}") from error
        return list(ids)

    def _count_special(self, ids: Sequence[int]) -> int:
        return sum(token_id in self._ids for token_id in ids)


def read_special_tokens(tokenizer: Any) -> dict[int, str]:
    """Returns, by id, the tokens that control a model.

    These are the special ones, and bracketed ones that the chat template writes: DeepSeek's ``<｜User｜>`` and Qwen's
    ``<think>`` are not declared special. Other added tokens (words, white space, HTML) are text.
    """
    found = dict(zip(tokenizer.all_special_ids, map(str, tokenizer.all_special_tokens), strict=True))
    template = str(tokenizer.chat_template)
    for token_id, token in tokenizer.added_tokens_decoder.items():
        written = re.fullmatch(r"[<\[]\S*\w\S*[>\]]", token.content) and token.content in template
        if token.special or written:
            found[token_id] = token.content
    return found
