"""Scripted completions: the rules of a file, and the least text where no rule fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medreason_dist.engines.base import (
    Choice,
    Completion,
    Constraint,
    FinishReason,
    JsonSchema,
    Message,
    Regex,
    Request,
)
from medreason_dist.engines.scripted import ScriptedEngine, least_text
from medreason_dist.errors import EngineError, ModelError
from medreason_dist.reasoning import responses
from medreason_dist.schemas import Stage


def ask(
    content: str = "", stage: Stage = Stage.trace, constraint: Constraint | None = None, max_tokens: int = 64
) -> Request:
    messages = (Message("system", "Be brief."), Message("user", content))
    return Request(stage, messages, max_tokens, constraint=constraint)


def write_script(folder: Path, rules: Any) -> str:
    path = folder / "script.json"
    path.write_text(rules if isinstance(rules, str) else json.dumps(rules), encoding="utf-8")
    return str(path)


# Rules ---------------------------------------------------------------------------------------------------------------


async def test_the_first_rule_that_fits_gives_the_text(tmp_path: Path) -> None:
    rules = [
        {"stage": "judge", "text": "correct"},
        {"stage": "trace", "contains": "metformin", "text": "first"},
        {"stage": "trace", "contains": "metformin and aspirin", "text": "second"},
        {"stage": "trace", "text": "rest"},
    ]
    engine = ScriptedEngine.from_file(write_script(tmp_path, rules))
    texts = [
        (await engine.complete(ask(*arguments))).text
        for arguments in (("metformin and aspirin",), ("aspirin",), ("metformin", Stage.judge))
    ]
    assert texts == ["first", "rest", "correct"]


async def test_a_rule_may_fit_any_message(tmp_path: Path) -> None:
    rules = [{"stage": "trace", "contains": "Be brief", "text": "by the system's message"}]
    engine = ScriptedEngine.from_file(write_script(tmp_path, rules))
    assert (await engine.complete(ask("x"))).text == "by the system's message"


async def test_where_no_rule_fits_the_least_text_is_given(tmp_path: Path) -> None:
    rules = [{"stage": "judge", "contains": "metformin", "text": "correct"}]
    engine = ScriptedEngine.from_file(write_script(tmp_path, rules))
    request = ask("aspirin", Stage.judge, responses.verdict_form())
    assert (await engine.complete(request)).text == least_text(request) == responses.CORRECT


async def test_an_engine_without_a_file_has_no_rules() -> None:
    engine = ScriptedEngine.from_file("")
    assert engine.model == "scripted"
    assert (await engine.complete(ask(constraint=Choice(("B", "A"))))).text == "B"


def test_the_model_is_the_scripts_path(tmp_path: Path) -> None:
    path = write_script(tmp_path, [])
    assert ScriptedEngine.from_file(path).model == path


@pytest.mark.parametrize(
    "script",
    [
        "[{",
        "{}{}",
        '["trace"]',
        '{"stage": "trace", "text": "x"}',
        '[{"stage": "trace"}]',
        '[{"text": "x"}]',
        '[{"stage": "dance", "text": "x"}]',
        "null",
    ],
)
def test_a_script_that_cannot_be_read_names_its_path(tmp_path: Path, script: str) -> None:
    path = write_script(tmp_path, script)
    with pytest.raises(ModelError, match="the script cannot be read") as caught:
        ScriptedEngine.from_file(path)
    assert caught.value.where == path and caught.value.remedy


def test_a_script_that_is_not_there_or_no_text_names_its_path(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.json", tmp_path, tmp_path / "binary.json"):
        with pytest.raises(ModelError, match="the script cannot be read") as caught:
            ScriptedEngine.from_file(str(path))
        assert caught.value.where == str(path)


# Completions ---------------------------------------------------------------------------------------------------------


async def test_tokens_are_a_quarter_of_the_bytes() -> None:
    engine = ScriptedEngine(lambda request: "é" * 8)
    expected = Completion("é" * 8, FinishReason.stop, prompt_tokens=2 + 5, completion_tokens=4)
    assert await engine.complete(ask("x" * 20)) == expected


async def test_a_lone_surrogate_is_replaced() -> None:
    assert (await ScriptedEngine(lambda request: "a\ud800").complete(ask("x"))).text == "a\ufffd"


@pytest.mark.parametrize(("max_tokens", "reason"), [(4, FinishReason.stop), (3, FinishReason.length)])
async def test_more_tokens_than_allowed_end_by_length(max_tokens: int, reason: FinishReason) -> None:
    engine = ScriptedEngine(lambda request: "x" * 16)
    completion = await engine.complete(ask(max_tokens=max_tokens))
    assert (completion.finish_reason, completion.completion_tokens) == (reason, max_tokens)


# The least text ------------------------------------------------------------------------------------------------------


def test_the_least_text_of_a_choice_is_its_first_option() -> None:
    assert least_text(ask(constraint=Choice(("C", "A")))) == "C"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (responses.mentions_form(), {"question": [], "answer": []}),
        (responses.choices_form([3, 2]), {"1": 0, "2": 0}),
        (responses.kept_form([3, 2], 2), {"1": [], "2": []}),
        (responses.answer_form(["B", "C"], several=True), {"answers": ["B"]}),
        (JsonSchema({"type": "object", "properties": {"name": {"type": "string", "minLength": 2}}}), {"name": "xx"}),
    ],
)
def test_the_least_text_of_a_schema_is_its_least_value(form: Constraint, expected: dict[str, Any]) -> None:
    assert json.loads(least_text(ask(constraint=form))) == expected


@pytest.mark.parametrize("constraint", [None, Regex("a+")])
async def test_a_stage_without_a_text_is_an_engine_error(constraint: Constraint | None) -> None:
    with pytest.raises(EngineError, match="no text for the stage answer"):
        await ScriptedEngine().complete(ask("x", Stage.answer, constraint))
