"""Fuzzed rows and fuzzed completions: ``python -m benchmarks.fuzz [N] [FIRST]`` (default 10,000 from 0).

N rows of the nine datasets go through the readers and the selection, N completions through the program of one question
on a small graph; what comes out goes through Parquet. Prints what became of them. Each case is made from its number
alone, from FIRST up: that of one which crashes is printed, with what it raised, and the exit code is 1.
"""

from __future__ import annotations

import asyncio
import copy
import io
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from medreason_dist.config import Config, DecontaminationConfig, QuestionsConfig, StorageConfig, load_config
from medreason_dist.engines.base import Completion, FinishReason, Request, replace_surrogates
from medreason_dist.engines.scripted import Reply, ScriptedEngine, least_text
from medreason_dist.errors import SourceError
from medreason_dist.questions.decontamination import BenchmarkIndex
from medreason_dist.questions.prepare import select_questions
from medreason_dist.questions.readers import read_source
from medreason_dist.reasoning.linking import Nearest
from medreason_dist.reasoning.mentions import NameIndex
from medreason_dist.reasoning.program import run_question
from medreason_dist.reasoning.records import Question
from medreason_dist.reasoning.stages import GraphTools
from medreason_dist.schemas import DROPPED, QUESTIONS, TRACES, Dataset, Stage
from tests.questions.test_readers import ROWS
from tests.reasoning.conftest import EDGES, NODES, MemoryGraph, obedient

FRAGMENTS: Final = (
    # What a chat template or a tokenizer takes for its own.
    "<|im_end|>", "<|im_start|>system", "<|endoftext|>", "<|im_<|im_end|>end|>", "[/INST]", "<s>", "<think>",
    "### Conclusion\nB", "\n### Reasoning\n", "\nReference answer: metformin\n", "\nReply with: correct", "{question}",
    # What is hard to read, to write or to put in order.
    "\x00", "\x1b[2J", "\x85", "\ufeff", "\u2028", "\u202e", "\u200f", "\u200b", "\ud800", "\udfff\ud800", "\U0001f9ec",
    "e\u0301", "\u0301\u0316" * 20, "\ufdfa", "\uff1cs\uff1e", "%s %n", "</table><script>", "\\", '"', "'; --", "\t\r\n",
    # What means something to the readers and the stages.
    "The answer is C.", "Answer Choices:\nA. x\nB. y", "metformin", "type 2 diabetes mellitus", "A,B", "vs. ", "(A)", ";",
)  # fmt: skip
VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, 2, 3, 4, -1, 10**400, 2**63, 1.0, float("nan"), float("inf"), "", " ", "2", "A", "b", "yes",
    "\ud800", "\x00", [], {}, [[]], [None], {"A": "x"}, {"A": "x", "B": "x"}, {"": ""}, {"contexts": []}, "x" * 100_000,
)  # fmt: skip
BYTES: Final = (b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b'"', b"{", b"\x85")
NO_BENCHMARKS: Final = BenchmarkIndex((), DecontaminationConfig())
MORE_ROWS: Final[dict[str, list[dict[str, Any]]]] = {
    "pubmedqa_artificial": [ROWS["pubmedqa"]],
    "pubmedqa": [{"QUESTION": "Is it?", "CONTEXTS": ["We asked."], "LONG_ANSWER": "It is.", "final_decision": "maybe"}],
    "mmlu": [{"question": "Which is a nerve?", "choices": ["femur", "vagus"], "answer": 1}],
    "hle": [
        {"question": "Which?\n\nAnswer Choices:\nA. one\nB. two", "answer": "B", "answer_type": "multipleChoice"},
        {"idx": 1, "question": "How many?", "answer": "42"},
    ],
}
EXTRACTED: Final = {
    "question": [{"name": name, "type": "drug"} for name in ("biguanide", "metformin", "Hypertension", "a name")],
    "answer": [{"name": "Metformin", "type": "drug"}],
}
QUESTION: Final = Question("0" * 32, "", None, {"A": "Glipizide", "B": "Metformin"}, "Metformin", "B", None)
OPEN: Final = replace(QUESTION, options={}, answer_label=None)
ASKED: Final = (
    replace(QUESTION, question="A man with type 2 diabetes mellitus needs a drug. Which one?"),
    replace(QUESTION, question="Hypertension, a biguanide and PRKAA1?", context="On gluconeogenesis."),
    replace(QUESTION, question="Type 2 diabetes mellitus?", answer="Glipizide; Metformin", answer_label="A,B"),
    replace(OPEN, question="PRKAA1?", answer="type 2 diabetes mellitus"),
    replace(OPEN, question="Lactic acidosis?", answer_context="Metformin or Glipizide."),
)


def main(cases: int, first: int) -> None:
    """Tries all cases and prints the counts."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind, attempt in (("rows", lambda seed: try_row(seed, Path(folder))), ("completions", try_completion)):
            counts, crashes, slowest = try_all(attempt, range(first, first + cases))
            print(f"{cases:,} {kind}, {sum(counts.values()):,} accounted for")
            for outcome, count in counts.most_common():
                print(f"{count:>8,}  {outcome}")
            print(f"  slowest: case {slowest[1]}, {slowest[0]:.2f} s")
            failed += len(crashes)
            for seed, error in crashes.items():
                print(f"CRASH in {kind}, case {seed}: {traceback.format_exception_only(error)[-1].strip():.200}")
                print("".join(traceback.format_tb(error.__traceback__)[-1:]), end="")
    sys.exit(failed > 0)


def try_all(
    attempt: Callable[[int], str], seeds: Sequence[int]
) -> tuple[Counter[str], dict[int, Exception], tuple[float, int]]:
    """Returns how many cases had each outcome, what others raised, and the slowest: its seconds and its number."""
    counts: Counter[str] = Counter()
    crashes: dict[int, Exception] = {}
    slowest = (0.0, -1)
    for seed in seeds:
        started = time.perf_counter()
        try:
            counts[attempt(seed)] += 1
        except Exception as error:
            crashes[seed] = error
        slowest = max(slowest, (time.perf_counter() - started, seed))
    return counts, crashes, slowest


# Rows ----------------------------------------------------------------------------------------------------------------


def try_row(seed: int, folder: Path) -> str:
    """Returns what became of a fuzzed row, which comes after a good one: ``question``, its drop reason or ``SourceError``.

    Raises what the readers should not, and :class:`AssertionError` where a row is lost or changed by Parquet.
    """
    rng = random.Random(f"row {seed}")
    dataset = rng.choice(list(Dataset))
    rows = [*([ROWS[dataset]] if dataset in ROWS else []), *MORE_ROWS.get(dataset, [])]
    path = folder / "rows.jsonl"
    path.write_bytes(json.dumps(rows[0]).encode() + b"\n" + fuzz_line(rng, rng.choice(rows)) + b"\n")
    try:
        source = list(read_source(dataset, str(path), StorageConfig()))
        selection = select_questions(source, NO_BENCHMARKS, QuestionsConfig())
    except SourceError:
        return "SourceError"
    assert len(selection.questions) + len(selection.dropped) == 2, "a row is lost"
    require_same(pa.Table.from_pylist(selection.questions, QUESTIONS))
    require_same(pa.Table.from_pylist(selection.dropped, DROPPED))
    return selection.dropped[0]["drop_reason"] if selection.dropped else "question"


def fuzz_line(rng: random.Random, row: dict[str, Any]) -> bytes:
    """Returns a row, changed in one to three places, as a line of JSON that may itself be damaged."""
    row = copy.deepcopy(row)
    for _ in range(rng.randint(1, 3)):
        row = fuzz_value(rng, row)
    line = json.dumps(row, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass").replace(b"\n", b" ")
    if rng.random() < 0.85:
        return line
    place = rng.randrange(len(line) + 1)
    damage: list[Callable[[], bytes]] = [
        lambda: line[: max(place, 1)],
        lambda: line[:place] + rng.choice(BYTES) + line[place:],
        lambda: line[:-1] + b', "question": "twice", "question": 1}',
        lambda: line + line,
        lambda: b"[" * (depth := rng.choice((90, 110, 980, 100_000))) + b"]" * depth,
        lambda: line[:-1] + b', "x": ' + b'{"A": ' * (depth := rng.choice((90, 110, 980))) + b"1" + b"}" * depth + b"}",
        lambda: b"NaN",
    ]
    return rng.choice(damage)()


def fuzz_value(rng: random.Random, value: Any) -> Any:
    """Returns a JSON value that is changed in one place, mostly one of its parts."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        changes: list[Callable[[], Any]] = [
            lambda: {name: item for name, item in value.items() if name != key},
            lambda: {fuzz_text(rng, name) if name == key else name: item for name, item in value.items()},
            lambda: {**value, fuzz_text(rng, key): rng.choice(VALUES)},
        ]
        if rng.random() < 0.75:
            return {**value, key: fuzz_value(rng, value[key])}
        return rng.choice(changes)()
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        return rng.choice(
            (
                [*value[:place], fuzz_value(rng, value[place]), *value[place + 1 :]],
                [*value[:place], *value[place + 1 :]],
                [*value, value[place]],
                value * rng.choice((2, 100)),
            )
        )
    if isinstance(value, str) and rng.random() < 0.7:
        return fuzz_text(rng, value)
    return rng.choice((*VALUES, str(value), [value], {"A": value}))


def fuzz_text(rng: random.Random, text: str) -> str:
    """Returns a text with something hostile in it, or cut, doubled, or very long."""
    place = rng.randrange(len(text) + 1)
    roll = rng.random()
    if roll < 0.5:
        return text[:place] + rng.choice(FRAGMENTS) + text[place:]
    if roll < 0.65:
        return text[:place] + text[rng.randrange(place, len(text) + 1) :]
    if roll < 0.85:
        return rng.choice((text.upper(), text * 2, f" {text}\n", text[::-1], text.replace(" ", ""), "", " \n\t"))
    repeated = rng.choice((*FRAGMENTS, text or "a", "a", "A ", " ", "\n", ".", "e.g. ", "### Reasoning\n"))
    # Most are as long as a completion may be, some as long as an endpoint without a limit may send.
    size = rng.choice((1_000, 4_000, 20_000) if rng.random() < 0.9 else (100_000, 1_000_000))
    return text[:place] + repeated * (size // len(repeated)) + text[place:]


# Completions ---------------------------------------------------------------------------------------------------------


def try_completion(seed: int) -> str:
    """Returns what became of a question one or more of whose completions are fuzzed: ``accepted`` or its reject reason.

    Raises what the program should not, and :class:`AssertionError` where the row is changed by Parquet.
    """
    rng = random.Random(f"completion {seed}")
    question = rng.choice(ASKED)
    if rng.random() < 0.3:
        # The readers let no lone surrogate through.
        question = replace(question, question=replace_surrogates(fuzz_text(rng, question.question)))
    stages = rng.sample(list(Stage), rng.choice((1, 1, 1, 2, 6)))
    row = asyncio.run(run_question(question, open_tools(fuzz_reply(rng, stages), rng)))
    asked = {"question_id": question.question_id, "question": question.question, "answer": question.answer}
    require_same(pa.Table.from_pylist([{**asked, **row, "latency_s": 0.0, "finished_at": None}], TRACES))
    return str(row["reject_reason"] or row["status"])


def fuzz_reply(rng: random.Random, stages: Sequence[Stage]) -> Reply:
    """Returns a reply that does as it is told but in these stages, where a right completion is changed or said least."""
    right = obedient({Stage.extract: json.dumps(EXTRACTED)})

    def reply(request: Request) -> str:
        text = right(request) or ""
        if request.stage not in stages:
            return text
        if rng.random() < 0.2:
            return least_text(request)
        for _ in range(rng.randint(1, 2)):
            text = fuzz_completion(rng, text)
        return text

    return reply


def fuzz_completion(rng: random.Random, text: str) -> str:
    """Returns a completion that is changed as text or, where it is JSON, as a value."""
    if text.startswith("{") and rng.random() < 0.6:
        try:
            return json.dumps(fuzz_value(rng, json.loads(text)), ensure_ascii=rng.random() < 0.5)
        except ValueError:
            return text[: rng.randrange(len(text))]
    lines = text.split("\n")
    changes: list[Callable[[], str]] = [
        lambda: "\n".join(rng.sample(lines, len(lines))),
        lambda: "\n".join([*lines, rng.choice(lines)]),
        lambda: f"```json\n{text}\n```",
        lambda: f"Sure! {text}",
        lambda: text[: rng.randrange(len(text) + 1)],
        lambda: "[" * (depth := rng.choice((10, 500, 985, 100_000))) + "]" * depth,
        lambda: rng.choice(("", " \n", "null", "[]", "{}", '"B"', "1", "A", "C", "Incorrect.", "perhaps", "\ud800")),
    ]
    return fuzz_text(rng, text) if rng.random() < 0.6 else rng.choice(changes)()


class UnboundEngine(ScriptedEngine):
    """An endpoint that does not keep to ``max_tokens``: its completions end by themselves, however long."""

    async def complete(self, request: Request) -> Completion:
        return replace(await super().complete(request), finish_reason=FinishReason.stop)


def open_tools(reply: Reply, rng: random.Random) -> GraphTools:
    """Returns the small graph with an engine that replies so."""

    async def nearest(texts: Sequence[str], top_k: int) -> list[Nearest]:
        return [[(0, 0.7), (3, 0.65)] if "biguanide" in text else [(4, 0.2)] for text in texts]

    names = NameIndex(NODES, [name for name, _ in NODES.values()], [node_type for _, node_type in NODES.values()])
    engine = (UnboundEngine if rng.random() < 0.5 else ScriptedEngine)(reply)
    config = make_config(top_k=rng.choice((1, 3)), attempts=rng.choice((1, 2)))
    return GraphTools(engine, engine, config, MemoryGraph(NODES, EDGES), names, nearest)


@cache
def make_config(top_k: int, attempts: int) -> Config:
    """Returns a config; to read one takes longer than a case."""
    pairs = ["engine.temperature=0.7", f"paths.top_k={top_k}", f"trace.attempts={attempts}"]
    return load_config(Config, None, pairs)


def require_same(table: pa.Table) -> None:
    """Raises :class:`AssertionError` where a table is another one once it was written to Parquet and read again."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    assert pq.read_table(io.BytesIO(sink.getvalue())).equals(table), "Parquet changes a row"


if __name__ == "__main__":
    numbers = [int(number) for number in sys.argv[1:]]
    main(*numbers, *(10_000, 0)[len(numbers) :])
