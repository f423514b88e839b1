"""Rows inside a page: compressed blocks of JSON in base64, which the page's script inflates when they are looked at.

There are two kinds. The index has what list, search and filters need of every row and is read when the page is opened; the
details have the rest. Of a page of 30,000 rows a reader's browser so inflates a tenth, and a few rows more with each
question that is opened.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

INDEX: Final = ("question_id", "dataset", "subject", "reject_reason", "question", "answer")
"""The columns of the index, in this order; an accepted row has no ``reject_reason``."""
ROWS_A_BLOCK: Final = {"index": 1024, "details": 32}
"""The page inflates 32 details to show one. More would not compress better: zlib looks back 32 KiB."""


class Block(NamedTuple):
    """Lines of JSON, one a row, compressed by zlib, in base64."""

    kind: str
    text: str


class Archive:
    """The rows of a page. Holds them compressed."""

    def __init__(self) -> None:
        self.rows = 0
        self.blocks: list[Block] = []
        self._lines: dict[str, list[str]] = {kind: [] for kind in ROWS_A_BLOCK}

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds a row of :data:`~medreason_dist.schemas.TRACES`."""
        self.rows += 1
        details = {name: value for name, value in row.items() if name not in INDEX and value is not None}
        self._append("index", [row[name] for name in INDEX])
        self._append("details", details)

    def close(self) -> list[Block]:
        """Returns all blocks, those of a kind in the order of their rows."""
        for kind in self._lines:
            self._flush(kind)
        return self.blocks

    def _append(self, kind: str, value: Any) -> None:
        # A float32 reads as fifteen digits; infinite numbers are no JSON.
        text = json.dumps(_round(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str)
        self._lines[kind].append(text)
        if len(self._lines[kind]) == ROWS_A_BLOCK[kind]:
            self._flush(kind)

    def _flush(self, kind: str) -> None:
        if lines := self._lines[kind]:
            compressed = zlib.compress("\n".join(lines).encode(), level=9)
            self.blocks.append(Block(kind, base64.b64encode(compressed).decode()))
            self._lines[kind] = []


def read_blocks(blocks: Iterable[Block], kind: str) -> list[Any]:
    """Returns the values of all lines of the blocks of a kind."""
    texts = (zlib.decompress(base64.b64decode(block.text)).decode() for block in blocks if block.kind == kind)
    return [json.loads(line) for text in texts for line in text.split("\n")]


def _round(value: Any) -> Any:
    match value:
        case float():
            return round(value, 4) if math.isfinite(value) else None
        case dict():
            return {name: _round(held) for name, held in value.items()}
        case list():
            return [_round(held) for held in value]
    return value
