"""Every source's parser: its released rows, its own forms, and every field that can be wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from medreason_dist.config import StorageConfig
from medreason_dist.questions.readers import Invalid, Question, parse_row, read_source, split_choices
from medreason_dist.schemas import QUESTIONS, Dataset

ROWS: dict[str, dict[str, Any]] = {
    "medqa": {
        "question": "Which drug lowers glucose?",
        "answer": "Metformin",
        "options": {"A": "Warfarin", "B": "Metformin", "C": "Digoxin", "D": "Heparin"},
        "meta_info": "step1",
        "answer_idx": "B",
    },
    "medmcqa": {
        "id": "m-1",
        "question": "Vitamin deficient in scurvy?",
        "opa": "A",
        "opb": "B12",
        "opc": "C",
        "opd": "D",
        "cop": 2,
        "exp": "EXPLAINED",
        "choice_type": "single",
        "subject_name": "Biochemistry",
        "topic_name": None,
    },
    "pubmedqa": {
        "pubid": 11,
        "question": "Does aspirin prevent stroke?",
        "context": {"contexts": ["We asked.", "We measured."], "labels": ["A", "B"], "meshes": []},
        "long_answer": "Aspirin prevents stroke.",
        "final_decision": "yes",
    },
    "pubmedqa_unlabeled": {
        "pubid": 12,
        "question": "Is asthma treated by salbutamol?",
        "context": {"contexts": ["We asked."]},
        "long_answer": "Salbutamol treats asthma.",
    },
    "mmlu": {
        "problem_id": 3,
        "problem_text": "Which are nerves?",
        "choices": ["vagus", "femur", "ulnar", "tibia"],
        "answer": ["c", "a"],
        "points": 1,
        "text_only": True,
    },
    "medxpertqa": {
        "id": "Text-1",
        "question": "Which bone?",
        "options": {letter: f"bone {letter}" for letter in "ABCDEFGHIJ"},
        "label": "J",
        "body_system": "Skeletal",
    },
    "huatuo": {"Question": "What causes scurvy?", "Complex_CoT": "EXPLAINED", "Response": "Lack of vitamin C."},
    "hle": {
        "idx": 4,
        "question": "Which loop?\n\n",
        "options": {"A": "GGGA", "C": "UUCG"},
        "answer": "C. UUCG\n",
        "answer_idx": "C",
    },
}


def parse(dataset: str, row: Any) -> Question:
    parsed = parse_row(Dataset(dataset), 7, row)
    assert not isinstance(parsed, Invalid), parsed
    return parsed


def refuse(dataset: str, row: Any) -> str:
    parsed = parse_row(Dataset(dataset), 7, row)
    assert isinstance(parsed, Invalid), parsed
    return parsed.detail


def changed(dataset: str, **fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(ROWS[dataset]), **fields}


def without(dataset: str, field: str) -> dict[str, Any]:
    return {name: value for name, value in ROWS[dataset].items() if name != field}


@pytest.mark.parametrize("dataset", ROWS)
def test_record_has_the_columns_of_the_schema(dataset: str) -> None:
    question = parse(dataset, ROWS[dataset])
    assert list(question) == QUESTIONS.names
    assert (question["dataset"], question["row_in_dataset"]) == (dataset, 7)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("medqa", {"answer": "Metformin", "answer_label": "B", "subject": "step1", "id_in_dataset": "7"}),
        ("medmcqa", {"answer": "C", "answer_label": "C", "subject": "Biochemistry", "id_in_dataset": "m-1"}),
        (
            "pubmedqa",
            {
                "answer": "yes",
                "answer_label": "A",
                "id_in_dataset": "11",
                "context": "We asked.\nWe measured.",
                "answer_context": "Aspirin prevents stroke.",
                "options": [{"label": a, "text": b} for a, b in (("A", "yes"), ("B", "no"), ("C", "maybe"))],
            },
        ),
        (
            "pubmedqa_unlabeled",
            {"answer": "Salbutamol treats asthma.", "answer_label": None, "options": [], "answer_context": None},
        ),
        ("mmlu", {"answer": "vagus; ulnar", "answer_label": "A,C", "id_in_dataset": "3", "subject": None}),
        ("medxpertqa", {"answer": "bone J", "answer_label": "J", "subject": "Skeletal", "id_in_dataset": "Text-1"}),
        ("huatuo", {"answer": "Lack of vitamin C.", "answer_label": None, "options": [], "id_in_dataset": "7"}),
        ("hle", {"question": "Which loop?", "answer": "UUCG", "answer_label": "C", "id_in_dataset": "4"}),
    ],
)
def test_released_form(dataset: str, expected: Mapping[str, Any]) -> None:
    question = parse(dataset, ROWS[dataset])
    assert {name: value for name, value in question.items() if name in expected} == expected


@pytest.mark.parametrize(("decision", "label"), [("yes", "A"), ("no", "B"), ("maybe", "C")])
def test_pubmedqa_keeps_all_three_decisions(decision: str, label: str) -> None:
    for dataset in (Dataset.pubmedqa, Dataset.pubmedqa_artificial):
        question = parse(dataset, changed("pubmedqa", final_decision=decision))
        assert (question["answer"], question["answer_label"]) == (decision, label)


def test_pubmedqa_original_field_names() -> None:
    row = {"pubid": "11", "QUESTION": "Does aspirin prevent stroke?", "CONTEXTS": ["We asked.", "We measured."]}
    row |= {"LONG_ANSWER": "Aspirin prevents stroke.", "final_decision": "yes", "LABELS": [], "MESHES": []}
    assert parse("pubmedqa", row) == parse("pubmedqa", ROWS["pubmedqa"])


def test_mmlu_plain_form() -> None:
    row = {"question": "Which is a nerve?", "choices": ["femur", "vagus"], "answer": 1, "subject": "anatomy"}
    question = parse("mmlu", row)
    assert (question["answer"], question["answer_label"], question["subject"]) == ("vagus", "B", "anatomy")


def test_hle_open_and_original_forms() -> None:
    assert parse("hle", {"idx": 1, "question": "How many?", "answer": "42"})["options"] == []
    assert parse("hle", {"idx": 1, "question": "How many?", "options": {}, "answer": "42", "answer_idx": None})
    released = {"id": "x", "image": "", "rationale": "EXPLAINED", "answer_type": "exactMatch"}
    question = parse("hle", {**released, "question": "How many?", "answer": "42"})
    assert (question["answer"], question["answer_label"], question["id_in_dataset"]) == ("42", None, "x")
    text = "Which?\n\nAnswer Choices:\nA. one\nB. two,\nin two lines\nC. three"
    question = parse("hle", {**released, "question": text, "answer_type": "multipleChoice", "answer": "B"})
    assert (question["question"], question["answer"]) == ("Which?", "two,\nin two lines")
    assert [option["label"] for option in question["options"]] == ["A", "B", "C"]


def test_choices_listed_in_the_question_are_split_off() -> None:
    text = "Which bone?\nAnswer Choices: (A) bone A (B) bone B"
    assert parse("medxpertqa", changed("medxpertqa", question=text)) == parse("medxpertqa", ROWS["medxpertqa"])
    assert split_choices("What are Answer Choices: a study") == ("What are Answer Choices: a study", "")


def test_explanations_reach_no_column() -> None:
    for dataset, row in ROWS.items():
        assert "EXPLAINED" not in json.dumps(parse(dataset, row))


def test_explanation_does_not_change_the_id() -> None:
    other = parse("medmcqa", changed("medmcqa", exp=None))
    assert other["question_id"] == parse("medmcqa", ROWS["medmcqa"])["question_id"]


REQUIRED = {
    "medqa": ["question", "answer", "options", "answer_idx"],
    "medmcqa": ["question", "opa", "opb", "opc", "opd", "cop"],
    "pubmedqa": ["question", "context", "long_answer", "final_decision"],
    "pubmedqa_unlabeled": ["question", "context", "long_answer"],
    "mmlu": ["problem_text", "choices", "answer"],
    "medxpertqa": ["question", "options", "label"],
    "huatuo": ["Question", "Response"],
    "hle": ["question", "answer", "answer_idx"],
}
WRONG: list[Any] = [3.5, True, [], {}, "", "  ", "\x00\x07", "\u200b", [None], "\ud800x"]


@pytest.mark.parametrize(("dataset", "field"), [(d, f) for d, fields in REQUIRED.items() for f in fields])
def test_field_missing_null_or_of_a_wrong_kind(dataset: str, field: str) -> None:
    name = "question" if field == "problem_text" else field
    assert refuse(dataset, without(dataset, field)) == f"{name}: missing; allowed: a value"
    assert refuse(dataset, changed(dataset, **{field: None})) == f"{field}: null; allowed: a value"
    for value in WRONG:
        detail = refuse(dataset, changed(dataset, **{field: value}))
        assert detail.startswith(field) and "; allowed: " in detail
        detail.encode()


@pytest.mark.parametrize(
    ("dataset", "fields", "detail"),
    [
        ("medqa", {"answer_idx": "E"}, 'answer_idx: "E"; allowed: one of A, B, C, D'),
        ("medqa", {"answer_idx": 1}, "answer_idx: 1; allowed: one of A, B, C, D"),
        ("medqa", {"answer": "Warfarin"}, 'answer: "Warfarin"; allowed: the text of option B, "Metformin"'),
        ("medqa", {"options": {"B": "Metformin"}}, 'options: {"B": "Metformin"}; allowed: an object of two options'),
        ("medqa", {"options": {"B": "Metformin", "b": "x"}}, 'options: label "b"; allowed: single capital letters'),
        ("medqa", {"options": {"B": "Metformin", "": "x"}}, 'options: label ""; allowed: single capital letters'),
        ("medqa", {"options": {"B": "Metformin", "AB": "x"}}, 'options: label "AB"; allowed: single capital'),
        ("medqa", {"options": {"A": 5, "B": "Metformin"}}, "options.A: 5; allowed: text"),
        ("medqa", {"options": {"A": None, "B": "Metformin"}}, "options.A: null; allowed: text"),
        ("medqa", {"options": {"A": "Metformin ", "B": "Metformin"}}, 'options: wrong option A "Metformin" repeats'),
        ("medqa", {"question": "a\udc00"}, "question: lone surrogate U+DC00 at character 1; allowed: Unicode text"),
        ("medqa", {"meta_info": 3}, "meta_info: 3; allowed: text"),
        ("medmcqa", {"cop": 4}, "cop: 4; allowed: a number, 0, 1, 2, 3"),
        ("medmcqa", {"cop": -1}, "cop: -1; allowed: a number, 0, 1, 2, 3"),
        ("medmcqa", {"cop": "2"}, 'cop: "2"; allowed: a number, 0, 1, 2, 3'),
        ("medmcqa", {"id": 1.5}, "id: 1.5; allowed: text"),
        ("medmcqa", {"opa": "C"}, 'options: wrong option A "C" repeats a right one; allowed: distinct text'),
        ("pubmedqa", {"final_decision": "Yes"}, 'final_decision: "Yes"; allowed: yes, no, maybe'),
        ("pubmedqa", {"context": "text"}, 'context: "text"; allowed: an object with contexts'),
        ("pubmedqa", {"context": {}}, "context.contexts: null; allowed: a list that is not empty"),
        ("pubmedqa", {"context": {"contexts": ["a", 3]}}, "context.contexts[1]: 3; allowed: text"),
        ("pubmedqa_unlabeled", {"final_decision": "yes"}, 'final_decision: "yes"; allowed: none in an unlabelled row'),
        ("mmlu", {"answer": ["e"]}, 'answer[0]: "e"; allowed: one of the letters A, B, C, D'),
        ("mmlu", {"answer": ["a", "A"]}, 'answer: ["a", "A"]; allowed: every letter once'),
        ("mmlu", {"answer": [0]}, "answer[0]: 0; allowed: one of the letters"),
        ("mmlu", {"answer": 4}, "answer: 4; allowed: a number, 0, 1, 2, 3"),
        ("mmlu", {"answer": "a"}, 'answer: "a"; allowed: a number, 0, 1, 2, 3'),
        ("mmlu", {"choices": ["one"]}, "choices: 1 choices; allowed: 2 to 26 choices"),
        ("mmlu", {"choices": ["a", 2, "c", "d"]}, "choices[1]: 2; allowed: text"),
        ("mmlu", {"text_only": False}, "text_only: false; allowed: true: questions are text"),
        ("medxpertqa", {"label": "K"}, 'label: "K"; allowed: one of A, B, C, D, E, F, G, H, I, J'),
        ("medxpertqa", {"images": ["x.jpg"]}, "images: an image; allowed: none: questions are text"),
        ("hle", {"answer": "A. GGGA"}, 'answer: "A. GGGA"; allowed: the text of option C, "UUCG"'),
        ("hle", {"options": None}, 'answer_idx: "C"; allowed: none where there are no options'),
        ("hle", {"answer_type": "essay"}, 'answer_type: "essay"; allowed: multipleChoice, exactMatch'),
        ("hle", {"answer_type": "multipleChoice"}, "question: "),
        ("hle", {"image": "data:image/png;base64,xx"}, "image: an image; allowed: none: questions are text"),
    ],
)
def test_value_out_of_range(dataset: str, fields: dict[str, Any], detail: str) -> None:
    assert refuse(dataset, changed(dataset, **fields)).startswith(detail)


@pytest.mark.parametrize("row", [None, 3, "text", ["a"], True])
def test_row_that_is_no_object(row: Any) -> None:
    assert refuse("medqa", row) == f"row: {json.dumps(row)}; allowed: a JSON object"


def test_wrong_options_may_repeat_each_other() -> None:
    assert parse("medmcqa", changed("medmcqa", opa="D"))["answer"] == "C"


def test_control_characters_are_text() -> None:
    assert parse("huatuo", changed("huatuo", Question="a\x00b\x1b"))["question"] == "a\x00b\x1b"


@pytest.mark.parametrize("text", ["\ufeff\x85\x00", "\u202eabc\u200f", "e\u0301" * 50, "\u0301" * 30, "😀" * 50])
def test_text_that_is_odd_is_text(text: str) -> None:
    assert parse("huatuo", changed("huatuo", Question=f"a{text}z"))["question"] == f"a{text}z"


def test_marks_without_end_are_refused() -> None:
    # Unicode orders them in quadratic time.
    for count in (31, 100_000):
        detail = refuse("huatuo", changed("huatuo", Question="a" + "\u0301\u0316" * count))
        assert detail == f"Question: {2 * count} combining marks in a row; allowed: 30 at most"


def test_a_hundred_kilobytes_are_a_question() -> None:
    for text in ("word " * 20_000, "x" * 100_000, "\n" * 50_000 + "x" * 50_000):
        assert parse("medqa", changed("medqa", question=f"Q{text}."))["question"] == f"Q{text}."


@pytest.mark.parametrize("between", ["\n" * 100_000, "\n " * 50_000, " " * 100_000, "\r" * 100_000])
def test_white_space_without_end_between_choices(between: str) -> None:
    row = {"answer_type": "multipleChoice", "answer": "B", "question": f"Which?\nAnswer Choices:\nA. x{between}b"}
    assert refuse("hle", row).startswith("question: ")
    row["question"] += "\nB. y"
    assert parse("hle", row)["answer"] == "y"


def test_long_value_is_shortened() -> None:
    assert len(refuse("medqa", changed("medqa", answer="x" * 10_000))) < 250


@pytest.mark.parametrize(
    ("dataset", "path", "questions", "refused"),
    [
        ("medqa", "qa/medqa.jsonl", 700, 0),
        ("medqa", "eval/medqa_test.jsonl", 700, 0),
        ("medqa", "eval/medbullets_op4.jsonl", 308, 0),
        ("medmcqa", "qa/medmcqa.jsonl", 1997, 3),
        ("pubmedqa", "qa/pubmedqa_labeled.jsonl", 500, 0),
        ("mmlu", "qa/mmlu_medical.jsonl", 600, 0),
        ("huatuo", "qa/huatuo_o1.jsonl", 120, 0),
        ("medxpertqa", "eval/medxpertqa.jsonl", 700, 0),
        ("hle", "eval/hle_biomed.jsonl", 59, 1),
    ],
)
def test_shared_files(shared: Path, dataset: str, path: str, questions: int, refused: int) -> None:
    rows = list(read_source(Dataset(dataset), str(shared / "data" / path), StorageConfig()))
    good = [row for row in rows if not isinstance(row.parsed, Invalid)]
    assert (len(good), len(rows) - len(good)) == (questions, refused)
    assert [row.number for row in rows] == list(range(questions + refused))
    for row in good:
        text = json.dumps(row.parsed, ensure_ascii=False)
        for name in ("exp", "Complex_CoT"):
            explanation = row.row.get(name)
            assert not explanation or len(explanation) < 40 or explanation not in text
