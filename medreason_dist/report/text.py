"""A run as text for a terminal: its counts, and traces from question to verdict."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from medreason_dist.config import Method
from medreason_dist.errors import RunError, StorageError
from medreason_dist.schemas import TRACES, Side, Status
from medreason_dist.storage import MANIFEST, Folder

_WIDTH = 110
_ADDED = frozenset({"finished_at"})
"""Columns of traces that the first version did not write."""


def format_report(run: Folder, traces: int) -> str:
    """Returns a finished run's counts and the first ``traces`` accepted traces; :class:`RunError` if unfinished."""
    manifest = read_manifest(run)
    parts = [format_counts(manifest)]
    if read_method(manifest) is Method.plain_cot:
        parts.append("Plain chain of thought: the reasoning was written from the questions alone, without a graph.")
    accepted = (row for row in iterate_traces(run) if row["status"] == Status.accepted)
    parts += [format_trace(row) for row, _ in zip(accepted, range(traces), strict=False)]
    places = "\n".join(f"  {run.uri}/{name}" for name in ("traces/", "dropped/", MANIFEST))
    return "\n\n".join([*parts, f"Everything lies in\n{places}"])


def read_manifest(run: Folder) -> dict[str, Any]:
    """Returns a finished run's manifest; :class:`RunError` if there is none."""
    try:
        manifest: dict[str, Any] = run.read_json(MANIFEST)
    except FileNotFoundError:
        raise RunError("the run is not finished: it has no manifest", run.uri, "start jobs/generate.py again") from None
    return manifest


def read_method(record: Mapping[str, Any]) -> Method:
    """Returns how a run's reasoning was written, by its manifest or its plan."""
    # The first versions knew one method and had no key for it.
    return Method(record["config"]["run"].get("method", Method.medreason))


def iterate_traces(run: Folder) -> Iterator[dict[str, Any]]:
    """Yields the rows of all traces, shard by shard; raises as :func:`iterate_tables`."""
    for table in iterate_tables(run):
        yield from table.to_pylist()


def iterate_tables(run: Folder) -> Iterator[pa.Table]:
    """Yields the traces of each shard, with null for a column that the version which wrote them did not have yet.

    Raises :class:`StorageError` for a file that is not readable, or lacks other columns.
    """
    folder = run.child("traces")
    for name in folder.names(".parquet"):
        table = folder.read_table(name)
        lacking = [field for field in TRACES if field.name not in table.column_names]
        if unknown := [field.name for field in lacking if field.name not in _ADDED]:
            what = f"the file lacks the columns {', '.join(unknown)}"
            raise StorageError(what, f"{folder.uri}/{name}", "it was written by another version: make the run anew")
        for field in lacking:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        yield table


def format_counts(manifest: Mapping[str, Any]) -> str:
    """Returns the counts of a manifest, from rows read to accepted, and what it cost."""
    usage = manifest["usage"]
    spent = usage["prompt_tokens"] + usage["completion_tokens"]
    lines = [
        ("rows read", manifest["rows_read"], ""),
        ("dropped", manifest["dropped"], _listed(manifest["dropped_by_reason"])),
        ("beyond limit", manifest["beyond_limit"], ""),
        ("questions", manifest["questions"], f"in {manifest['shards']} shards"),
        ("accepted", manifest["accepted"], ""),
        ("rejected", manifest["rejected"], _listed(manifest["rejected_by_reason"])),
        ("tokens", spent, f"{usage['requests']:,} requests, {usage['tokens_per_accepted'] or 0:,.0f} an accepted row"),
        ("seconds", round(manifest["wall_s"]), ""),
    ]
    return "\n".join(f"{name:<13}{number:>10,}  {note}".rstrip() for name, number, note in lines)


def format_trace(row: Mapping[str, Any]) -> str:
    """Returns one trace: question → entities → paths with relations (where there are any) → reasoning → verdict."""
    right = f"{row['answer_label']}. {row['answer']}" if row["answer_label"] else row["answer"]
    options = [f"  {option['label']}. {option['text']}" for option in row["options"] or []]
    verdict = row["judge"] or {"verdict": "none", "by": "none"}
    sections = [
        f"── {row['dataset']} {row['id_in_dataset']} · {row['question_id']} ".ljust(_WIDTH, "─"),
        _wrap("Question", row["question"]),
        *options,
        _wrap("Right answer", right),
        *(_along_graph(row) if row["question_entities"] or row["answer_entities"] else ()),
        _wrap("Reasoning", row["reasoning"] or "none"),
        _wrap("Answer from the reasoning alone", row["answer_from_reasoning"] or "none"),
        f"Verdict: {row['status']} ({verdict['verdict']} by {verdict['by']})",
    ]
    return "\n".join(sections)


def _along_graph(row: Mapping[str, Any]) -> Iterator[str]:
    for side in Side:
        yield f"Entities of the {side}: {_entities(row[f'{side}_entities'])}"
    yield f"Paths kept, of {row['candidate_path_count']}:"
    yield from (f"  {describe_path(path)}" for path in row["paths"])


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _wrap(title: str, text: str) -> str:
    paragraphs = [textwrap.fill(line, _WIDTH, initial_indent="  ", subsequent_indent="  ") for line in text.split("\n")]
    return f"{title}:\n" + "\n".join(paragraphs)


def _entities(entities: list[Mapping[str, Any]]) -> str:
    return ", ".join(f"{e['name']} ({e['type']}, {e['linked_by']})" for e in entities)


def describe_path(path: Mapping[str, Any]) -> str:
    """Returns a path of a trace as text: ``metformin —[indication]→ type 2 diabetes mellitus``."""
    first, *rest = path["names"]
    return " ".join([first, *(f"—[{r}]→ {name}" for r, name in zip(path["relations"], rest, strict=True))])
