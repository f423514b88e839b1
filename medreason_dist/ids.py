"""Identities that depend on content alone: the same text has the same id on every machine and in every file order."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from typing import Any


def normalize_text(text: str) -> str:
    """Returns ``text`` in Unicode form NFC with every run of white space as one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def fingerprint(value: Any) -> str:
    """Returns the SHA-256 (64 hex digits) of a JSON-able value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def question_id(question: str, context: str | None, options: Sequence[str], answer: str) -> str:
    """Returns the content id (32 hex digits) of a question.

    Two rows have the same id iff question, context, options in their order and answer are equal after
    :func:`normalize_text`. The answer is part of it, so that sources which contradict each other both stay visible.
    """
    parts = [question, context or "", *options, answer]
    return fingerprint([normalize_text(part) for part in parts])[:32]


def derive_seed(*parts: str | int) -> int:
    """Returns a seed in [0, 2**31) that depends on the parts alone: run.seed, question id, stage, attempt."""
    return int(fingerprint([str(part) for part in parts])[:8], 16) & 0x7FFFFFFF
