from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medreason_dist.ids import fingerprint
from medreason_dist.publishing.chat import chat_row
from medreason_dist.publishing.rows import choose_split, publish_row
from medreason_dist.schemas import PUBLISHED, TRACES

SHARES = {"train": 0.9, "validation": 0.05, "test": 0.05}
IDS = sorted(fingerprint(number)[:32] for number in range(20_000))
OPTIONS = [{"label": "A", "text": "Glipizide"}, {"label": "B", "text": "Metformin"}, {"label": "C", "text": "Insulin"}]


def trace(**changes: Any) -> dict[str, Any]:
    row = dict.fromkeys(TRACES.names) | {
        "question_id": "0" * 32,
        "dataset": "medqa",
        "id_in_dataset": "7",
        "question": "Which drug?",
        "options": OPTIONS,
        "answer": "Metformin",
        "answer_label": "B",
        "judge": {"verdict": "correct", "by": "option_match"},
        "paths": [{"names": ["metformin", "PRKAA1", "liver"], "relations": ["target | enzyme", "expression present"]}],
        "reasoning": "It acts in the liver.",
        "grounding": {"coverage": 0.5, "support": None, "off_path": 0.0, "claims": 0},
    }
    return row | changes


def test_splits_have_their_shares_also_among_the_first_ids_in_order() -> None:
    for ids in (IDS, IDS[:5_000]):
        found = Counter(choose_split(each, SHARES) for each in ids)
        for split, share in SHARES.items():
            # Five standard deviations of a binomial count.
            assert abs(found[split] - share * len(ids)) < 5 * (share * (1 - share) * len(ids)) ** 0.5


def test_a_split_of_no_share_has_no_row_and_one_of_all_has_all() -> None:
    assert {choose_split(each, {"none": 0.0, "train": 1.0, "never": 0.0}) for each in IDS} == {"train"}


@given(st.text(max_size=40), st.lists(st.floats(0, 1), min_size=1, max_size=4).filter(lambda shares: sum(shares) > 0))
def test_every_question_has_one_split_that_has_a_share(question_id: str, weights: list[float]) -> None:
    shares = {f"s{number}": weight / sum(weights) for number, weight in enumerate(weights)}
    assert shares[choose_split(question_id, shares)] > 0


def test_a_row_has_the_released_columns_first_and_where_it_comes_from() -> None:
    row = publish_row(trace(), "abc")
    assert list(row) == PUBLISHED.names
    assert list(row)[:6] == ["dataset_name", "id_in_dataset", "question", "answer", "reasoning", "options"]
    assert row["options"] == "Answer Choices:\nA. Glipizide\nB. Metformin\nC. Insulin"
    assert row["paths"] == ["metformin —[target | enzyme]→ PRKAA1 —[expression present]→ liver"]
    assert (row["coverage"], row["support"], row["off_path"], row["run"]) == (0.5, None, 0.0, "abc")


def test_an_open_question_has_no_options_and_an_old_trace_no_scores() -> None:
    row = publish_row(trace(options=[], answer_label=None, grounding={"path_nodes": 2}), "abc")
    assert (row["options"], row["coverage"]) == ("", None)


@pytest.mark.parametrize(
    ("changes", "asked", "answered"),
    [
        ({}, "Which drug?\n\nA. Glipizide\nB. Metformin\nC. Insulin", "B. Metformin"),
        ({"answer_label": "B,C"}, "Which drug?\n\nA. Glipizide\nB. Metformin\nC. Insulin", "B. Metformin; C. Insulin"),
        ({"options": None, "answer_label": None}, "Which drug?", "Metformin"),
        ({"options": [], "answer_label": None, "context": "We asked."}, "We asked.\n\nWhich drug?", "Metformin"),
    ],
)
def test_a_chat_asks_as_the_source_does_and_ends_with_its_answer(
    changes: dict[str, Any], asked: str, answered: str
) -> None:
    messages = chat_row(trace(**changes), None)["messages"]
    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", asked),
        ("assistant", f"It acts in the liver.\n\nAnswer: {answered}"),
    ]


def test_a_system_prompt_comes_first() -> None:
    assert chat_row(trace(), "Reason.")["messages"][0] == {"role": "system", "content": "Reason."}
