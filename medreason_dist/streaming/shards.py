"""One shard: its rows are written whole under their final name, once every question has one. What has none is left to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from medreason_dist.errors import ReconcileError
from medreason_dist.storage import Folder

QUESTIONS_FOLDER: Final = "questions"


@dataclass(frozen=True)
class Layout:
    """Where a run keeps its rows, in what columns. Its questions are in ``questions/``."""

    results: str
    """Folder of the run that takes one file for each shard."""
    questions: pa.Schema
    rows: pa.Schema

    def read_questions(self, run: Folder, shard: str) -> pa.Table:
        """Returns a shard's questions."""
        return run.read_table(f"{QUESTIONS_FOLDER}/{shard}", self.questions)

    def is_done(self, run: Folder, shard: str) -> bool:
        """Whether a shard has its rows."""
        return run.exists(f"{self.results}/{shard}")

    def missing(self, run: Folder, shards: Iterable[str]) -> list[str]:
        """Returns, in order, the shards that are not listed as done. A worker looks again before it starts one."""
        done = set(run.child(self.results).names(".parquet"))
        return [shard for shard in shards if shard not in done]

    def write(self, run: Folder, shard: str, questions: pa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes a shard's rows, in the order of its questions, unless another worker has written them.

        ``rows[i]`` holds what the program found of ``questions[i]``; the columns that both schemas have are the
        question's. Raises :class:`ReconcileError` where the two do not match one to one.
        """
        if len(rows) != questions.num_rows:
            raise ReconcileError(f"shard {shard} has {questions.num_rows} questions but {len(rows)} rows")
        asked = questions.select([name for name in questions.column_names if name in self.rows.names]).to_pylist()
        table = pa.Table.from_pylist(
            [{**question, **row} for question, row in zip(asked, rows, strict=True)], self.rows
        )
        # Of two workers on one shard the first one's rows stay.
        run.create_table(f"{self.results}/{shard}", table)

    def read(self, run: Folder, shard: str, questions: int) -> tuple[pa.Table, str]:
        """Returns a shard's rows, read anew, and the SHA-256 of their file.

        Raises :class:`ReconcileError` where they are not exactly one row for each of its planned ``questions``,
        :class:`StorageError` where a file is missing or damaged.
        """
        rows, digest = run.read_digested(f"{self.results}/{shard}", self.rows)
        asked = self.read_questions(run, shard)["question_id"].to_pylist()
        answered = rows["question_id"].to_pylist()
        if len(asked) != questions or asked != answered or len(set(asked)) != questions:
            raise ReconcileError(f"{shard}: planned {questions}, questions {len(asked)}, rows {len(answered)}")
        return rows, digest
