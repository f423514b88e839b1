"""Benchmarks: their released rows, what is left out, ids within an evaluation, and the shared files read whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from medreason_dist.config import Config, evaluation_keys, load_config, result_keys
from medreason_dist.errors import ConfigError, SourceError
from medreason_dist.evaluation.benchmarks import Counts, Selection, digest_benchmarks, read_questions
from medreason_dist.schemas import Benchmark, LeftOut

MEDQA: dict[str, Any] = {
    "question": "Which drug lowers glucose?",
    "options": {"A": "Warfarin", "B": "Metformin", "C": "Digoxin", "D": "Heparin"},
    "answer": "Metformin",
    "answer_idx": "B",
}
HLE: dict[str, Any] = {
    "id": "h1",
    "question": "Which is it?\n\nAnswer Choices:\nA. one\nB. two",
    "answer": "B",
    "answer_type": "multipleChoice",
    "image": "",
    "category": "Biology/Medicine",
}
SHARED = {
    "medqa": ("eval/medqa_test.jsonl", 700),
    "medmcqa": ("qa/medmcqa.jsonl", 2000),
    "mmlu": ("qa/mmlu_medical.jsonl", 600),
    "pubmedqa": ("qa/pubmedqa_labeled.jsonl", 500),
    "medbullets_op4": ("eval/medbullets_op4.jsonl", 308),
    "medxpertqa": ("eval/medxpertqa.jsonl", 700),
}


def read(folder: Path, files: Mapping[str, Sequence[Any]], *pairs: str) -> Selection:
    return read_questions(configure(folder, files, *pairs))


def configure(folder: Path, files: Mapping[str, Sequence[Any]], *pairs: str) -> Config:
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return load_config(Config, None, [*(f"evaluate.benchmarks.{name}={folder}/{name}.jsonl" for name in files), *pairs])


def numbered(count: int) -> list[dict[str, Any]]:
    return [MEDQA | {"question": f"{MEDQA['question']} ({number})"} for number in range(count)]


def test_questions_of_two_benchmarks_and_of_one_row_twice_are_kept_apart(tmp_path: Path) -> None:
    found = read(tmp_path, {"medqa": [MEDQA, MEDQA], "medbullets_op4": [MEDQA]})
    assert len({question["question_id"] for question in found.questions}) == 3
    assert Counter(question["dataset"] for question in found.questions) == {"medqa": 2, "medbullets_op4": 1}
    ids = [question["question_id"] for question in found.questions]
    assert ids == sorted(ids)
    assert found.benchmarks["medqa"] == Counts(rows_read=2, left_out={}, beyond_limit=0, questions=2)


def test_ids_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = [*numbered(4), numbered(1)[0]]
    forth, back = (read(tmp_path, {"medqa": order}).questions for order in (rows, rows[::-1]))
    assert [question["question_id"] for question in forth] == [question["question_id"] for question in back]


def test_a_larger_limit_extends_a_smaller_one(tmp_path: Path) -> None:
    files = {"medqa": numbered(9), "medbullets_op4": numbered(3)}
    few, more = (read(tmp_path, files, f"evaluate.limit={limit}") for limit in (2, 5))
    planned = [question["question_id"] for question in few.questions]
    assert len(planned) == 4
    assert more.benchmarks["medqa"] == Counts(rows_read=9, left_out={}, beyond_limit=4, questions=5)
    again = read_questions(configure(tmp_path, files, "evaluate.limit=5"), planned).questions
    assert [question["question_id"] for question in again][:4] == planned
    assert len(again) == len(more.questions) == 8


def test_options_may_repeat_a_right_one(tmp_path: Path) -> None:
    row = MEDQA | {"options": MEDQA["options"] | {"D": "Metformin"}}
    assert read(tmp_path, {"medqa": [row]}).questions[0]["answer_label"] == "B"


def test_a_row_that_cannot_be_asked_stops_and_is_named(tmp_path: Path) -> None:
    files = {"medqa": [MEDQA, MEDQA | {"answer_idx": "F"}, MEDQA | {"question": ""}]}
    with pytest.raises(SourceError) as caught:
        read(tmp_path, files)
    assert (
        caught.value.what
        == 'rows that cannot be asked: 2; the first is row 1: answer_idx: "F"; allowed: one of A, B, C, D'
    )
    assert caught.value.where == f"evaluate.benchmarks.medqa: {tmp_path}/medqa.jsonl"
    assert "evaluate.invalid_limit=2" in caught.value.remedy
    with pytest.raises(SourceError, match="rows that cannot be asked: 2"):
        read(tmp_path, files, "evaluate.invalid_limit=1")
    found = read(tmp_path, files, "evaluate.invalid_limit=2")
    assert found.benchmarks["medqa"] == Counts(rows_read=3, left_out={"invalid": 2}, beyond_limit=0, questions=1)
    assert [(row["row_in_dataset"], row["drop_reason"]) for row in found.left_out] == [(1, "invalid"), (2, "invalid")]


@pytest.mark.parametrize("benchmark", ["medbullets_op4", "medbullets_op5"])
def test_medbullets_have_the_options_of_their_name(tmp_path: Path, benchmark: str) -> None:
    count = 4 if benchmark == "medbullets_op5" else 5
    options = dict(zip("ABCDE"[:count], ("Warfarin", "Metformin", "Digoxin", "Heparin", "Insulin"), strict=False))
    with pytest.raises(SourceError, match=rf"row 0: options: {count} of them; allowed: {9 - count}"):
        read(tmp_path, {benchmark: [MEDQA | {"options": options}]})


def test_of_the_released_hle_only_closed_biomedical_text_is_asked(tmp_path: Path) -> None:
    rows = [
        HLE,
        HLE | {"answer_type": "exactMatch", "answer": "two"},
        HLE | {"image": "data:image/png;base64,AA"},
        HLE | {"category": "Math"},
        {"idx": 3, "question": "Which?", "options": None, "answer": "two", "answer_idx": None},
    ]
    found = read(tmp_path, {"hle": rows})
    assert [question["question"] for question in found.questions] == ["Which is it?"]
    left_out = {"image": 1, "open": 2, "other_field": 1}
    assert found.benchmarks["hle"] == Counts(rows_read=5, left_out=left_out, beyond_limit=0, questions=1)
    assert {row["drop_reason"] for row in found.left_out} <= set(LeftOut)
    assert json.loads(found.left_out[-1]["row"]) == rows[-1]


def test_a_file_of_another_benchmark_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"it looks like medqa: list it as evaluate\.benchmarks\.medqa"):
        read(tmp_path, {"medmcqa": [MEDQA]})


def test_medmcqa_that_counts_from_1_is_refused_by_its_key(tmp_path: Path) -> None:
    row = {"id": "m", "question": "Which?", "opa": "a", "opb": "b", "opc": "c", "opd": "d"}
    with pytest.raises(SourceError, match=r"cop counts from 1(.|\n)*evaluate\.benchmarks\.medmcqa"):
        read(tmp_path, {"medmcqa": [row | {"cop": 1}, row | {"cop": 4}]})


def test_digests_name_each_file(tmp_path: Path) -> None:
    config = configure(tmp_path, {"medqa": [MEDQA]})
    ((name, digest),) = digest_benchmarks(config).items()
    assert (name, len(digest)) == (f"medqa: {tmp_path}/medqa.jsonl", 64)


def test_config_of_an_evaluation() -> None:
    config = load_config(Config, None, ["evaluate.limit=3", "evaluate.compare=[runs/a]", "engine.temperature=0.7"])
    keys = evaluation_keys(config)
    assert {"run.seed", "engine.model", "evaluate.prompt", "evaluate.samples", "evaluate.temperature"} <= set(keys)
    assert not set(keys) & {"evaluate.limit", "evaluate.uri", "evaluate.compare", "engine.temperature", "run.limit"}
    assert not any(key.startswith("evaluate.") for key in result_keys(config))
    with pytest.raises(ConfigError, match="nothing to evaluate on"):
        read_questions(config)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("evaluate.benchmarks.medbulets_op4=x", "did you mean 'medbullets_op4'"),
        ("evaluate.samples=2", "every sample would be the same"),
        ("evaluate.samples=0", "1 or more"),
        ("evaluate.invalid_limit=-1", "0 or more"),
        ("evaluate.prompt=other", "evaluate.prompt"),
    ],
)
def test_config_that_is_refused(pair: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(Config, None, [pair])


@pytest.mark.slow
def test_shared_benchmarks_are_read_whole(shared: Path) -> None:
    files = {name: f"{shared}/data/{file}" for name, (file, _) in SHARED.items()}
    found = read_questions(load_config(Config, None, [f"evaluate.benchmarks.{n}={uri}" for n, uri in files.items()]))
    counts = {
        name: Counts(rows_read=rows, left_out={}, beyond_limit=0, questions=rows) for name, (_, rows) in SHARED.items()
    }
    assert found.benchmarks == counts
    assert all(question["options"] and question["answer_label"] for question in found.questions)
    assert all(question["context"] for question in found.questions if question["dataset"] == "pubmedqa")


def test_shared_hle_has_one_row_whose_option_is_empty(shared: Path) -> None:
    pair = f"evaluate.benchmarks.hle={shared}/data/eval/hle_biomed.jsonl"
    with pytest.raises(SourceError, match=r"cannot be asked: 1; the first is row 34: options\.H"):
        read_questions(load_config(Config, None, [pair]))
    found = read_questions(load_config(Config, None, [pair, "evaluate.invalid_limit=1"]))
    assert found.benchmarks["hle"] == Counts(rows_read=60, left_out={"invalid": 1}, beyond_limit=0, questions=59)


def test_every_benchmark_has_a_shared_file_or_is_made_by_hand() -> None:
    assert {*SHARED, "hle", "medbullets_op5"} == {*Benchmark}
