"""Special tokens in data: a question that holds ``<|im_end|>`` must not end its turn.

Tokenizers look for the strings of their special tokens in the whole prompt, whoever wrote them there. Where one stands in
the content of a message, a space goes into it: ``< |im_end|>`` reads the same and is plain text. Content without such
strings stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_NAME: Final = r"[^\s<>\[\]|｜]{1,64}"
_PLAIN: Final = (
    # Llama 2 and Mistral
    """<s> </s> <unk> <pad> <<SYS>> <</SYS>> [INST] [/INST] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [AVAILABLE_TOOLS]
    [/AVAILABLE_TOOLS] [TOOL_CALLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CONTENT] [ARGS] [THINK] [/THINK]"""
    # Gemma
    """ <bos> <eos> <mask> <start_of_turn> <end_of_turn> <start_of_image> <end_of_image>"""
    # Qwen, Hermes and others that reason or call tools
    """ <think> </think> <tool_call> </tool_call> <tool_response> </tool_response>"""
    # ChatGLM, Nemotron
    """ [gMASK] [sMASK] <sop> <eop> <extra_id_0> <extra_id_1> <SPECIAL_10> <SPECIAL_11> <SPECIAL_12>"""
).split()
CONTROL_STRINGS: Final = re.compile(
    "|".join(
        [
            # ChatML (Qwen, Yi, SmolLM), Llama 3 and 4, Phi, GLM-4, gpt-oss, Granite, Command R: <|im_end|>, <|eot_id|>
            # and the like; Gemma 4: <|turn> and <turn|>.
            rf"<\|{_NAME}\|?>",
            rf"<{_NAME}\|>",
            # DeepSeek: <｜User｜>, <｜end▁of▁sentence｜>.
            rf"<｜{_NAME}｜>",
            # EXAONE: [|user|], [|endofturn|].
            rf"\[\|{_NAME}\|\]",
            *map(re.escape, _PLAIN),
        ]
    )
)
"""What means something to the chat templates of common models: for an endpoint whose tokenizer is not at hand."""


def compile_tokens(tokens: Iterable[str]) -> re.Pattern[str]:
    """Returns a pattern that matches any of the tokens, the longest first.

    White space around a token does not count. One of a single character cannot be broken and is left out.
    """
    cores = sorted({token.strip() for token in tokens}, key=lambda core: (-len(core), core))
    return re.compile("|".join(re.escape(core) for core in cores if len(core) > 1) or r"(?!)")


def break_tokens(text: str, tokens: re.Pattern[str]) -> str:
    """Returns ``text`` with a space after the first character of each token, until none is left."""
    while tokens.search(text):
        text = tokens.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
    return text
