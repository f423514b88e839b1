"""Which option a completion answers, as the MedReason authors' scorer finds it: what it credits, right or wrong.

``docs/evaluation.md`` says where it credits too much. Its time is linear in the completion's length.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Final, NamedTuple

from medreason_dist.schemas import FoundBy

_HEADINGS: Final = ("## Final Response\n\n", "## Final Answer\n\n")
_AUTHORS_LETTERS: Final = "ABCDEFGHIJKLMN"
_ANSWER_IS: Final = re.compile(rf"answer is\s*([{_AUTHORS_LETTERS}])")
_EDGE: Final = r"[\W\u4e00-\u9fff]"


class AuthorsAnswer(NamedTuple):
    """The labels that the authors' scorer finds first and last, and how. Either may be a letter that is no label."""

    first: str
    last: str
    by: FoundBy


def authors_answer(text: str, options: Mapping[str, str]) -> AuthorsAnswer:
    """Returns what ``match_choice`` of UCSC-VLAA/MedReason's ``src/evaluation/scorer.py`` finds in a completion.

    That is HuatuoGPT-o1's scorer (arXiv 2412.18925) with a heading of its own. ``options`` maps labels to texts.
    """
    for heading in _HEADINGS:
        if heading in text:
            text = text.rpartition(heading)[2]
            break
    found = _ANSWER_IS.findall(text) or _lone_letters(len(options)).findall(text)
    if found:
        return AuthorsAnswer(found[0], found[-1], FoundBy.letter)
    text = text.lower()
    texts = {label: option.lower() for label, option in options.items()}
    named = [label for label, option in texts.items() if option in text]
    if named:
        # «First» is the option whose first place is the latest: the sort there descends in both cases.
        first = max(named, key=lambda label: text.index(texts[label]))
        last = max(named, key=lambda label: text.rindex(texts[label]))
        return AuthorsAnswer(first, last, FoundBy.text)
    matcher = SequenceMatcher(None, "", text)
    nearest, highest = "", 0.0
    for label, option in texts.items():
        matcher.set_seq1(option)
        if (ratio := matcher.ratio()) >= highest:
            nearest, highest = label, ratio
    return AuthorsAnswer(nearest, nearest, FoundBy.similarity)


@lru_cache
def _lone_letters(count: int) -> re.Pattern[str]:
    """Returns the pattern of one of the first ``count`` letters alone; an A before a space is taken for an article.

    A match takes the characters around the letter with it: of two letters with one space between them only one is found.
    """
    return re.compile(rf"(?:^|{_EDGE})(?!A )([{_AUTHORS_LETTERS[:count]}])(?:{_EDGE}|$)")
