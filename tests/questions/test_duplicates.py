"""Near-duplicates among a run's own questions: which go, which stay, in whatever order they come."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from medreason_dist.config import Config, DecontaminationConfig, DeduplicationConfig, QuestionsConfig, load_config
from medreason_dist.questions.decontamination import BenchmarkIndex
from medreason_dist.questions.duplicates import find_duplicates, place_of
from medreason_dist.questions.prepare import Selection, read_questions, select_questions
from medreason_dist.questions.readers import Question, SourceRow, parse_row
from medreason_dist.schemas import Dataset

STEM = "A {age}-year-old man wakes at night with a hot, swollen great toe and drinks beer on most days. {ask}"
ASK = "Which of these drugs should he be given first, if he has no other illness?"
OPTIONS = {"A": "Naproxen", "B": "Allopurinol", "C": "Febuxostat", "D": "Methotrexate"}
CONFIG = QuestionsConfig()


def medqa(question: str, right: str = "A", options: dict[str, str] = OPTIONS) -> dict[str, Any]:
    return {"question": question, "options": options, "answer": options[right], "answer_idx": right}


def source_rows(rows: Sequence[Any], dataset: Dataset = Dataset.medqa) -> list[SourceRow]:
    return [SourceRow(dataset, number, row, parse_row(dataset, number, row)) for number, row in enumerate(rows)]


def questions_of(rows: Sequence[Any], dataset: Dataset = Dataset.medqa) -> list[Question]:
    return [row.parsed for row in source_rows(rows, dataset) if isinstance(row.parsed, dict)]


def select(rows: Sequence[Any], limit: int | None = None, planned: Sequence[str] = ()) -> Selection:
    return select_questions(source_rows(rows), BenchmarkIndex((), DecontaminationConfig()), CONFIG, limit, planned)


def ids(selection: Selection) -> list[str]:
    return [question["question_id"] for question in selection.questions]


def test_the_first_stays_and_is_named() -> None:
    turned = {"D": "naproxen", "C": "allopurinol", "B": "febuxostat", "A": "methotrexate"}
    rows = [medqa(STEM.format(age=58, ask=ASK)), medqa(STEM.format(age=61, ask=ASK).upper(), "D", turned)]
    questions = questions_of(rows)
    (place, detail), *others = find_duplicates(questions, CONFIG).items()
    assert (place, others) == ("medqa:1", [])
    assert detail == (
        "near duplicate of medqa:0, which is kept: same answer, Jaccard 0.89 of word 3-grams; "
        f"id {questions[0]['question_id']}"
    )
    assert list(find_duplicates(questions[::-1], CONFIG)) == ["medqa:0"]
    off = replace(CONFIG, deduplication=DeduplicationConfig(near_duplicate=False))
    assert find_duplicates(questions, off) == {}
    strict = replace(CONFIG, deduplication=DeduplicationConfig(threshold=0.95))
    assert find_duplicates(questions, strict) == {}


def test_where_answers_differ_both_stay() -> None:
    same, other = medqa(STEM.format(age=58, ask=ASK)), medqa(STEM.format(age=61, ask=ASK), "B")
    assert find_duplicates(questions_of([same, other]), CONFIG) == {}
    both = questions_of([same, other, medqa(STEM.format(age=62, ask=ASK), "B"), medqa(STEM.format(age=63, ask=ASK))])
    kept = {place: detail.split()[3] for place, detail in find_duplicates(both, CONFIG).items()}
    assert kept == {"medqa:2": "medqa:1,", "medqa:3": "medqa:0,"}


def test_where_contexts_differ_both_stay() -> None:
    def row(context: str) -> dict[str, Any]:
        return {
            "question": "Does the treatment of gout by naproxen shorten the attack in men over fifty years of age?",
            "context": {"contexts": [context]},
            "long_answer": f"It does: {context}",
            "final_decision": "yes",
        }

    questions = questions_of([row("One trial."), row("Another trial."), row("ONE TRIAL")], Dataset.pubmedqa)
    assert list(find_duplicates(questions, CONFIG)) == ["pubmedqa:2"]


def test_short_stems_need_their_options() -> None:
    options = {"A": "Naproxen", "B": "The tibia"}
    others = {"A": "Naproxen", "B": "Urate crystals"}
    rows = [medqa("Which is true?", options=options), medqa("Which is true", options=others)]
    assert find_duplicates(questions_of(rows), CONFIG) == {}
    huatuo = [
        {"Question": question, "Response": "Naproxen."} for question in ("What helps in gout?", "What helps now?")
    ]
    assert find_duplicates(questions_of(huatuo, Dataset.huatuo), CONFIG) == {}
    case = [*huatuo, {"Question": "What HELPS in gout", "Response": "naproxen"}]
    assert list(find_duplicates(questions_of(case, Dataset.huatuo), CONFIG)) == ["huatuo:2"]


ROWS = st.lists(
    st.tuples(st.integers(50, 56), st.sampled_from("AB"), st.sampled_from(["", "He takes a thiazide. "])).map(
        lambda row: medqa(STEM.format(age=row[0], ask=row[2] + ASK), row[1])
    ),
    max_size=8,
)


@settings(max_examples=15)
@given(ROWS, st.randoms(use_true_random=False))
def test_the_same_rows_in_any_order_give_the_same_questions(rows: list[Any], rng: random.Random) -> None:
    shuffled = rng.sample(rows, len(rows))
    one, other = select(rows), select(shuffled)
    assert ids(one) == ids(other)
    assert sorted(record["drop_reason"] for record in one.dropped) == sorted(r["drop_reason"] for r in other.dropped)
    assert one.sources == other.sources
    kept = {place_of(question) for question in one.questions}
    for record in one.dropped:
        if record["drop_reason"] == "near_duplicate":
            assert record["detail"].split()[3].rstrip(",") in kept
            assert json.loads(record["row"]) == rows[record["row_in_dataset"]]


@settings(max_examples=10)
@given(ROWS, ROWS, st.integers(1, 4), st.integers(0, 4))
def test_extending_keeps_what_was_planned(rows: list[Any], more: list[Any], limit: int, larger: int) -> None:
    planned = ids(select(rows, limit))
    for extended in (rows, [*more, *rows]):
        selection = select(extended, limit + larger, planned)
        assert ids(selection)[: len(planned)] == planned
        assert len(ids(selection)) == min(limit + larger, len(ids(select(extended, None, planned))))
    assert ids(select(rows, limit + larger, planned)) == ids(select(rows, limit + larger))


def test_sources_listed_in_another_order_and_read_again(tmp_path: Path) -> None:
    files = {}
    for dataset, age in ((Dataset.medqa, 58), (Dataset.hle, 59)):
        row = {**medqa(STEM.format(age=age, ask=ASK)), "idx": dataset.value}
        files[dataset] = tmp_path / f"{dataset}.jsonl"
        files[dataset].write_text(json.dumps({"question": 3}) + "\n" + json.dumps(row) + "\n", encoding="utf-8")
    selections = []
    for order in (list(files), list(files)[::-1]):
        pairs = [f"questions.sources.{dataset}={files[dataset]}" for dataset in order]
        selections.append(read_questions(load_config(Config, None, pairs)))
    assert selections[0] == selections[1]
    assert len(selections[0].questions) == 1
    assert [(d["dataset"], d["row_in_dataset"]) for d in selections[0].dropped if d["row_in_dataset"] == 0] == [
        ("medqa", 0),
        ("hle", 0),
    ]
    assert [d["drop_reason"] for d in selections[0].dropped].count("near_duplicate") == 1
