"""What the report prints of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from medreason_dist.config import Method
from medreason_dist.errors import RunError
from medreason_dist.report.text import format_report, format_trace, read_method
from medreason_dist.schemas import TRACES
from medreason_dist.storage import MANIFEST, Folder

ENTITY = {"node_index": 1, "name": "gout", "type": "disease", "mention": "Gout", "score": 1.0, "linked_by": "exact"}
TRACE: dict[str, Any] = dict.fromkeys(TRACES.names) | {
    "question_id": "0" * 32,
    "dataset": "medqa",
    "id_in_dataset": "7",
    "question": "Which enzyme does the drug for gout inhibit?",
    "options": [{"label": "A", "text": "XDH"}, {"label": "B", "text": "DHFR"}],
    "answer": "XDH",
    "answer_label": "A",
    "status": "accepted",
    "question_entities": [ENTITY],
    "answer_entities": [{**ENTITY, "node_index": 3, "name": "XDH", "type": "gene/protein"}],
    "candidate_path_count": 4,
    "paths": [
        {
            "nodes": [1, 2, 3],
            "names": ["gout", "Allopurinol", "XDH"],
            "relations": ["indication", "enzyme | target"],
            "rank": 1,
            "reason": "",
        }
    ],
    "reasoning": "Allopurinol lowers uric acid.\nIt inhibits XDH.",
    "answer_from_reasoning": "A",
    "judge": {"verdict": "correct", "by": "option_match"},
}
COUNTS: dict[str, Any] = {
    "config": {"run": {"method": "medreason"}},
    "rows_read": 1203,
    "dropped": 2,
    "dropped_by_reason": {"duplicate": 2},
    "beyond_limit": 0,
    "questions": 1201,
    "accepted": 1,
    "rejected": 1200,
    "rejected_by_reason": {"wrong_answer": 1200},
    "shards": 19,
    "usage": {"requests": 9, "prompt_tokens": 1000, "completion_tokens": 234, "tokens_per_accepted": 1234.0},
    "wall_s": 61.4,
}


def test_a_trace_reads_from_question_to_verdict() -> None:
    text = format_trace(TRACE)
    parts = [
        "medqa 7",
        "Which enzyme does the drug",
        "  B. DHFR",
        "Right answer:\n  A. XDH",
        "Entities of the question: gout (disease, exact)",
        "Paths kept, of 4:\n  gout —[indication]→ Allopurinol —[enzyme | target]→ XDH",
        "  Allopurinol lowers uric acid.\n  It inhibits XDH.",
        "Answer from the reasoning alone:\n  A",
        "Verdict: accepted (correct by option_match)",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_a_trace_that_broke_off_early_is_shown_too() -> None:
    rejected = TRACE | {"status": "rejected", "paths": [], "answer_entities": [], "reasoning": None, "judge": None}
    assert format_trace(rejected | {"options": None}).endswith("Verdict: rejected (none by none)")


def test_the_counts_and_as_many_accepted_traces_as_asked(tmp_path: Path) -> None:
    run = Folder(str(tmp_path))
    run.write_json(MANIFEST, COUNTS)
    rows = [TRACE | {"id_in_dataset": str(number)} for number in range(3)]
    run.write_table("traces/shard=00000.parquet", pa.Table.from_pylist([{**TRACE, "status": "rejected"}], TRACES))
    run.write_table("traces/shard=00001.parquet", pa.Table.from_pylist(rows, TRACES))
    text = format_report(run, 2)
    assert "rows read         1,203\n" in text
    assert "rejected          1,200  wrong_answer 1,200\n" in text
    assert "tokens            1,234  9 requests, 1,234 an accepted row\n" in text
    assert [f"medqa {number} " in text for number in range(3)] == [True, True, False]
    assert text.count("Verdict: accepted") == 2
    assert "Plain chain of thought" not in text
    run.write_json(MANIFEST, COUNTS | {"config": {"run": {"method": "plain_cot"}}})
    assert "\n\nPlain chain of thought: " in format_report(run, 1)


def test_a_trace_without_a_graph_shows_none() -> None:
    text = format_trace(TRACE | {"question_entities": [], "answer_entities": [], "paths": []})
    assert "Entities" not in text and "Paths" not in text
    assert "Right answer:\n  A. XDH\nReasoning:\n" in text


def test_a_run_of_the_first_versions_is_along_the_graph() -> None:
    assert read_method({"config": {"run": {}}}) is Method.medreason


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no manifest"):
        format_report(Folder(str(tmp_path)), 2)
