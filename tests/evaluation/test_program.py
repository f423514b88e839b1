"""One question: what is asked, what a row holds, samples, failures; with an engine that answers as told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from medreason_dist.config import Config, EvaluateConfig, EvaluatePrompt, load_config
from medreason_dist.engines.base import Choice, Completion, FinishReason, Regex, Request
from medreason_dist.engines.scripted import ScriptedEngine
from medreason_dist.errors import EngineDead, EngineError, PromptTooLong
from medreason_dist.evaluation.program import answer_question, fail_question
from medreason_dist.evaluation.prompts import TEMPLATES, find_template
from medreason_dist.publishing.chat import chat_row
from medreason_dist.schemas import PREDICTIONS, Stage

QUESTION: dict[str, Any] = {
    "question_id": "q1",
    "dataset": "medqa",
    "row_in_dataset": 7,
    "id_in_dataset": "7",
    "subject": None,
    "question": "Which drug lowers glucose? {not a field}",
    "context": None,
    "options": [{"label": "A", "text": "Warfarin"}, {"label": "B", "text": "Metformin"}],
    "answer": "Metformin",
    "answer_label": "B",
    "answer_context": "EXPLAINED",
}
SEVERAL = QUESTION | {"answer": "Warfarin; Metformin", "answer_label": "A,B"}


class Recorded(ScriptedEngine):
    """Answers with one text after another, or raises, and keeps the requests."""

    def __init__(self, *replies: str | Exception | Completion) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self._replies = list(replies)

    async def complete(self, request: Request) -> Completion:
        self.requests.append(request)
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Completion) else Completion(reply, FinishReason.stop, 10, 5)


def configure(*pairs: str) -> Config:
    return load_config(Config, None, list(pairs))


async def ask(engine: ScriptedEngine, *pairs: str, question: dict[str, Any] | None = None) -> dict[str, Any]:
    row = await answer_question(question or QUESTION, engine, configure(*pairs))
    # As the shard's file has it.
    asked = {name: value for name, value in QUESTION.items() if name in PREDICTIONS.names}
    (stored,) = pa.Table.from_pylist([{**asked, **row}], PREDICTIONS).to_pylist()
    return dict(stored)


async def test_a_row_holds_the_answer_and_what_either_scorer_makes_of_it() -> None:
    engine = Recorded("(A) is wrong.\n\nAnswer: B")
    row = await ask(engine, "evaluate.max_tokens=99", "engine.sampling_params.top_p=0.9")
    (sample,) = row["samples"]
    assert (sample["strict_label"], sample["strict_fault"], sample["strict_correct"]) == ("B", None, True)
    assert (sample["authors_first"], sample["authors_last"], sample["authors_by"]) == ("A", "B", "letter")
    assert (sample["authors_first_correct"], sample["authors_last_correct"]) == (False, True)
    assert (sample["prompt_tokens"], sample["completion_tokens"], sample["replayed_tokens"]) == (10, 5, 0)
    assert (row["benchmark"], row["status"], row["row_in_dataset"]) == ("medqa", "answered", 7)
    assert row["prompt"] == TEMPLATES[EvaluatePrompt.reasoned].row
    assert row["usage"] == [
        {"stage": "evaluate", "requests": 1, "prompt_tokens": 10, "completion_tokens": 5, "replayed_tokens": 0}
    ]
    (request,) = engine.requests
    assert (request.stage, request.max_tokens, request.temperature) == (Stage.evaluate, 99, 0.0)
    assert (request.sampling_params, request.constraint) == ({"top_p": 0.9}, None)


async def test_samples_have_seeds_of_their_own_that_the_question_and_the_run_decide() -> None:
    pairs = ("evaluate.samples=3", "evaluate.temperature=0.7")
    seeds = []
    for run in (pairs, pairs, (*pairs, "run.seed=1")):
        engine = Recorded("Answer: A", "Answer: B", "I cannot say.")
        row = await ask(engine, *run)
        seeds.append([request.seed for request in engine.requests])
        assert [sample["strict_label"] for sample in row["samples"]] == ["A", "B", None]
        assert row["samples"][2]["strict_fault"] == "none_stated"
    assert seeds[0] == seeds[1]
    assert len({*seeds[0], *seeds[2]}) == 6


async def test_a_completion_that_was_cut_off() -> None:
    row = await ask(Recorded(Completion("So the answer is B", FinishReason.length, 10, 5, replayed=True)))
    (sample,) = row["samples"]
    assert (sample["finish_reason"], sample["strict_fault"], sample["strict_correct"]) == ("length", "truncated", False)
    assert sample["authors_last_correct"]
    assert (sample["prompt_tokens"], sample["replayed_tokens"], row["usage"][0]["replayed_tokens"]) == (0, 15, 15)


async def test_no_text_is_wrong_for_both() -> None:
    (sample,) = (await ask(Recorded(""), question=QUESTION | {"answer_label": "B"}))["samples"]
    assert (sample["strict_fault"], sample["authors_first"], sample["authors_last_correct"]) == (
        "none_stated",
        None,
        False,
    )


@pytest.mark.parametrize(
    ("error", "reason"), [(PromptTooLong("9,000 tokens"), "too_long"), (EngineError("gone \ud800"), "engine_error")]
)
async def test_a_request_that_fails_is_a_wrong_sample_among_others(error: Exception, reason: str) -> None:
    row = await ask(Recorded("Answer: B", error), "evaluate.samples=2", "evaluate.temperature=1")
    right, failed = row["samples"]
    assert (row["status"], right["strict_correct"], right["error"]) == ("failed", True, None)
    assert (failed["error"], failed["text"], failed["strict_correct"]) == (reason, None, False)
    assert failed["error_detail"].startswith(str(error)[:4])
    assert row["usage"][0]["requests"] == 1


async def test_a_dead_engine_ends_the_program() -> None:
    with pytest.raises(EngineDead):
        await ask(Recorded(EngineDead("gone")))


def test_a_question_that_is_not_asked_is_wrong_in_every_sample() -> None:
    config = configure("evaluate.samples=2", "evaluate.temperature=1")
    row = fail_question(QUESTION, "ended two workers", ScriptedEngine(), config)
    assert [sample["error"] for sample in row["samples"]] == ["engine_error"] * 2
    assert (row["status"], row["samples"][0]["error_detail"]) == ("failed", "ended two workers")
    assert row["usage"][0]["requests"] == 0


async def test_several_right_options_are_scored_as_a_set() -> None:
    (sample,) = (await ask(Recorded("Answer: B, A"), question=SEVERAL))["samples"]
    assert (sample["strict_label"], sample["strict_correct"], sample["authors_last_correct"]) == ("A,B", True, False)


async def test_direct_constrains_to_the_labels(tmp_path: Path) -> None:
    row = await ask(ScriptedEngine(), "evaluate.prompt=direct")
    assert (row["samples"][0]["text"], row["samples"][0]["strict_label"]) == ("A", "A")
    direct = TEMPLATES[EvaluatePrompt.direct]
    assert direct.constraint(QUESTION) == Choice(("A", "B"))
    assert direct.constraint(SEVERAL) == Regex("[AB](,[AB]){0,1}")


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=list(TEMPLATES))
def test_prompts_show_the_question_and_neither_answer_nor_explanation(template: Any) -> None:
    told = "\n".join(message.content for message in template.messages(QUESTION | {"context": "ABSTRACT"}))
    assert "{not a field}" in told
    assert "A. Warfarin\nB. Metformin" in told
    assert told.index("ABSTRACT") < told.index("Which drug")
    assert "EXPLAINED" not in told
    assert "Several options are right" not in told
    assert "Several options are right" in "\n".join(message.content for message in template.messages(SEVERAL))
    assert template.messages(QUESTION)[-1].role == "user"


def test_prompts_are_versioned_by_their_text() -> None:
    assert len({template.sha256 for template in TEMPLATES.values()}) == len(TEMPLATES) == 4
    assert [message.role for message in TEMPLATES[EvaluatePrompt.plain].messages(QUESTION)] == ["user"]


@pytest.mark.parametrize("system_prompt", [None, "Reason {first}."])
@pytest.mark.parametrize("context", [None, "A trial of 40 patients."])
def test_the_chat_prompt_asks_word_for_word_as_a_published_chat(context: str | None, system_prompt: str | None) -> None:
    question = {**QUESTION, "context": context}
    trace = {**question, "question_id": "1", "reasoning": "So.", "answer": "x"}
    published = chat_row(trace, system_prompt)["messages"][:-1]
    asked = find_template(EvaluateConfig(prompt=EvaluatePrompt.chat, system_prompt=system_prompt)).messages(question)
    assert [{"role": message.role, "content": message.content} for message in asked] == published
