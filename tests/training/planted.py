"""Published datasets of planted rows: invented drugs that treat invented diseases."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from medreason_dist.ids import fingerprint
from medreason_dist.publishing.dataset import FORMATS
from medreason_dist.schemas import CHAT, PUBLISHED
from medreason_dist.storage import MANIFEST, Folder


def plant(
    folder: Path,
    *,
    method: str = "medreason",
    numbers: Sequence[int] = range(24),
    benchmarks: Sequence[str] = ("medqa_test",),
    repeat: int = 1,
) -> str:
    """Publishes a dataset with one question for each number, every sixth held out, and returns its folder.

    ``repeat`` makes each reasoning so many times as long.
    """
    target = Folder(str(folder))
    files: dict[str, str] = {}
    splits = {
        "train": [number for number in numbers if number % 6],
        "validation": [number for number in numbers if not number % 6],
    }
    for split, members in splits.items():
        rows = [describe(number, method, repeat) for number in members]
        for form, schema in FORMATS.items():
            name = f"{form}/{split}-00000.parquet"
            made = [publish(row) if schema is PUBLISHED else converse(row) for row in rows]
            target.write_table(name, pa.Table.from_pylist(made, schema))
            files[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    manifest = {
        "fingerprint": fingerprint(files),
        "method": method,
        "splits": {split: len(members) for split, members in splits.items()},
        "decontamination": {"benchmarks": dict.fromkeys(benchmarks, 1)} if benchmarks else {},
        "files": files,
    }
    target.write_json(MANIFEST, manifest)
    return str(folder)


def describe(number: int, method: str, repeat: int = 1) -> dict[str, Any]:
    reasoning = f"Drug {number} —[indication]→ disease {number}. So it is given for it, by {method}."
    return {
        "question_id": f"{number:032x}",
        "question": f"Which drug treats disease {number}?",
        "reasoning": " ".join([reasoning] * repeat),
        "answer": f"Drug {number}",
    }


def publish(row: dict[str, Any]) -> dict[str, Any]:
    return {column: row.get(column) for column in PUBLISHED.names}


def converse(row: dict[str, Any]) -> dict[str, Any]:
    answer = f"{row['reasoning']}\n\nAnswer: A. {row['answer']}"
    said = [("user", f"{row['question']}\n\nA. {row['answer']}\nB. Nothing"), ("assistant", answer)]
    messages = [{"role": role, "content": content} for role, content in said]
    return {column: {**row, "messages": messages}.get(column) for column in CHAT.names}
