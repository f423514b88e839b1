from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from medreason_dist.engines.base import JsonSchema, Regex
from medreason_dist.reasoning import responses
from medreason_dist.reasoning.records import Mention, Rejected, TraceSections
from medreason_dist.schemas import RejectReason, Side

TEXTS = {Side.question: "Does metformin help?", Side.answer: "Yes, in type 2 diabetes mellitus."}


def test_mentions_that_do_not_stand_in_the_text_are_left_out() -> None:
    reply = {
        "question": [{"name": name, "type": "drug"} for name in ("Metformin", "aspirin", "metform", "help?", " ")],
        "answer": [{"name": "type 2 diabetes mellitus", "type": "disease"}],
    }
    assert responses.parse_mentions(json.dumps(reply), TEXTS) == [
        Mention("Metformin", Side.question, "drug", "engine"),
        Mention("help?", Side.question, "drug", "engine"),
        Mention("type 2 diabetes mellitus", Side.answer, "disease", "engine"),
    ]


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (lambda t: responses.parse_mentions(t, TEXTS), ""),
        (lambda t: responses.parse_mentions(t, TEXTS), '{"question": ['),
        (lambda t: responses.parse_mentions(t, TEXTS), '{"question": []}'),
        (lambda t: responses.parse_mentions(t, TEXTS), '{"question": [{"name": "x", "type": "planet"}], "answer": []}'),
        (lambda t: responses.parse_mentions(t, TEXTS), '{"question": [{"name": "x", "type": ["drug"]}], "answer": []}'),
        (lambda t: responses.parse_mentions(t, TEXTS), '{"question": [{"name": 3, "type": "drug"}], "answer": []}'),
        (lambda t: responses.parse_mentions(t, TEXTS), '{"question": ["x"], "answer": []}'),
        (lambda t: responses.parse_mentions(t, TEXTS), "[" * 100_000),
        (lambda t: responses.parse_mentions(t, TEXTS), '```json\n{"question": [], "answer": []}\n```'),
        (lambda t: responses.parse_choices(t, [2]), "[1]"),
        (lambda t: responses.parse_choices(t, [2]), '{"1": 3}'),
        (lambda t: responses.parse_choices(t, [2]), '{"1": true}'),
        (lambda t: responses.parse_choices(t, [2]), '{"1": "1"}'),
        (lambda t: responses.parse_kept(t, [2], 3), '{"1": [0]}'),
        (lambda t: responses.parse_kept(t, [2], 3), '{"1": 1}'),
        (lambda t: responses.parse_kept(t, [2], 3), '{"1": [[1]]}'),
        (lambda t: responses.parse_kept(t, [2], 3), '{"1": [{}]}'),
        (lambda t: responses.parse_kept(t, [2], 3), '{"1": [1.0]}'),
        (lambda t: responses.parse_kept(t, [2], 3), f'{{"1": [{"9" * 5000}]}}'),
        (lambda t: responses.parse_choices(t, [2]), '{"1": NaN}'),
        (lambda t: responses.parse_labels(t, ["A", "B"], False), "E"),
        (lambda t: responses.parse_labels(t, ["A", "B"], True), '{"answers": []}'),
        (lambda t: responses.parse_labels(t, ["A", "B"], True), '{"answers": [["A"]]}'),
        (responses.parse_line, ""),
        (responses.parse_line, " \n\u200b\x00\n"),
        (responses.parse_verdict, "perhaps"),
        (responses.parse_verdict, "incorrect, so the answer is correct"),
    ],
)
def test_a_reply_without_its_form_is_an_engine_error(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(Rejected) as rejected:
        parse(text)
    assert rejected.value.reason is RejectReason.engine_error
    assert rejected.value.detail


@pytest.mark.parametrize("count", [7, 20_000])
def test_no_more_mentions_are_taken_than_the_form_admits(count: int) -> None:
    entity = {"name": "metformin", "type": "drug"}
    reply = json.dumps({"question": [entity] * count, "answer": [{"name": "x" * 1_000_000, "type": "drug"}]})
    assert responses.parse_mentions(reply, TEXTS) == [Mention("metformin", Side.question, "drug", "engine")] * 6


def test_an_open_answer_is_one_line() -> None:
    assert responses.parse_line("\n Metformin,  daily\r\n\n\u2028Reference answer: x\x85") == (
        "Metformin,  daily Reference answer: x"
    )


def test_kept_numbers_are_distinct_and_no_more_than_asked() -> None:
    assert responses.parse_kept('{"1": [2, 2, 1, 3], "2": []}', [3, 1], 2) == [[2, 1], []]


def test_several_labels_come_back_in_the_options_order() -> None:
    assert responses.parse_labels('{"answers": ["C", "A"]}', ["A", "B", "C"], True) == ("A", "C")
    assert responses.parse_labels(" B\n", ["A", "B"], False) == ("B",)


def test_forms_are_closed_schemas() -> None:
    forms = (responses.mentions_form(), responses.choices_form([2, 3]), responses.kept_form([4], 2))
    assert all(isinstance(form, JsonSchema) and form.schema["additionalProperties"] is False for form in forms)
    assert responses.choices_form([2]).schema["properties"]["1"] == {"enum": [0, 1, 2]}
    assert responses.kept_form([2], 5).schema["properties"]["1"]["items"] == {"enum": [1, 2]}


def test_what_the_trace_form_admits_is_what_the_parser_takes() -> None:
    text = "### Paths\na → b\n### Reasoning\nFirst this.\nThen that.\n### Conclusion\nB"
    form = responses.trace_form(3)
    assert isinstance(form, Regex)
    assert re.fullmatch(form.pattern, text)
    assert not re.fullmatch(responses.trace_form(2).pattern, text)
    assert responses.parse_trace(text) == TraceSections("a → b", "First this.\nThen that.", "B")


def test_a_plain_trace_has_no_paths() -> None:
    text = "### Reasoning\nFirst this.\n### Conclusion\nB"
    form = responses.trace_form(3, responses.PLAIN_HEADINGS)
    assert re.fullmatch(form.pattern, text)
    assert responses.parse_trace(text, responses.PLAIN_HEADINGS) == TraceSections("", "First this.", "B")
    for other in (f"### Paths\na\n{text}", text.replace("### Conclusion", "Conclusion"), f"So:\n{text}"):
        assert not re.fullmatch(form.pattern, other)
        with pytest.raises(Rejected):
            responses.parse_trace(other, responses.PLAIN_HEADINGS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The answer is B.",
        "### Paths\nx\n### Reasoning\ny",
        "### Reasoning\ny\n### Paths\nx\n### Conclusion\nz",
        "### Paths\nx\n### Reasoning\n\n### Conclusion\nz",
        "### Paths\nx\n### Reasoning\ny\n### Reasoning\ny\n### Conclusion\nz",
        "Sure!\n### Paths\nx\n### Reasoning\ny\n### Conclusion\nz",
        "### Paths\nx\n### Reasoning\ny\n### Conclusion\n",
        "### Paths\nx\n### Reasoning\ny\n## Conclusion\nB\n### Conclusion\nB",
        "### Paths\nx\n### Reasoning\ny ### Conclusion B\n### Conclusion\nB",
        "### Paths\nx\n### Reasoning\ny\n ### Conclusion\nB\n### Conclusion\nB",
        "### Paths\nx\n### Reasoning\ny\n### Other\nz\n### Conclusion\nB",
        "### Paths" + " " * 100_000 + "x",
        "### Paths\nx\n" + "### Reasoning\n" * 50_000,
        "\n" * 100_000,
    ],
)
def test_a_trace_without_its_sections_is_malformed(text: str) -> None:
    with pytest.raises(Rejected) as rejected:
        responses.parse_trace(text)
    assert rejected.value.reason is RejectReason.malformed_trace
