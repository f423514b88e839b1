"""What a worker does with a benchmark's question: asks it ``evaluate.samples`` times and scores the answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from medreason_dist.config import Config
from medreason_dist.engines.base import Completion, Engine, FinishReason, Request, replace_surrogates
from medreason_dist.errors import EngineDead, EngineError, PromptTooLong
from medreason_dist.evaluation.authors import authors_answer
from medreason_dist.evaluation.prompts import find_template, has_several_right
from medreason_dist.evaluation.strict import strict_answer
from medreason_dist.ids import derive_seed
from medreason_dist.schemas import PREDICTIONS, Asked, RejectReason, Stage

_TOKENS = ("prompt_tokens", "completion_tokens", "replayed_tokens")
_NOTHING: dict[str, Any] = {field.name: None for field in PREDICTIONS.field("samples").type.value_type} | {
    "strict_correct": False,
    "authors_first_correct": False,
    "authors_last_correct": False,
    **dict.fromkeys(_TOKENS, 0),
}
"""A sample without a completion."""


async def answer_question(question: Mapping[str, Any], engine: Engine, config: Config) -> dict[str, Any]:
    """Returns the columns of :data:`medreason_dist.schemas.PREDICTIONS` that are not the question's own or the worker's.

    ``question`` is a row of :data:`medreason_dist.schemas.QUESTIONS`. The same completions give the same columns. Raises
    only :class:`~medreason_dist.errors.EngineDead`: a request that fails is a sample with an error, which is wrong.
    """
    numbers = range(1, config.evaluate.samples + 1)
    samples = await asyncio.gather(*(_sample(question, engine, config, number) for number in numbers))
    return _as_row(question, engine, config, samples)


def fail_question(question: Mapping[str, Any], why: str, engine: Engine, config: Config) -> dict[str, Any]:
    """Returns the columns of a question that is not asked, for its requests have ended their workers."""
    failed = _NOTHING | {"error": RejectReason.engine_error.value, "error_detail": why}
    return _as_row(question, engine, config, [failed] * config.evaluate.samples)


async def _sample(question: Mapping[str, Any], engine: Engine, config: Config, number: int) -> dict[str, Any]:
    template = find_template(config.evaluate)
    request = Request(
        stage=Stage.evaluate,
        messages=template.messages(question),
        max_tokens=config.evaluate.max_tokens,
        temperature=config.evaluate.temperature,
        seed=derive_seed(config.run.seed, question["question_id"], Stage.evaluate, number),
        constraint=template.constraint(question),
        sampling_params=config.engine.sampling_params,
    )
    try:
        completion = await engine.complete(request)
    except EngineDead:
        raise
    except EngineError as error:
        reason = RejectReason.too_long if isinstance(error, PromptTooLong) else RejectReason.engine_error
        # An endpoint's own words: of any length, and not always Unicode.
        return _NOTHING | {"error": reason.value, "error_detail": replace_surrogates(f"{error!s:.1000}")}
    return _NOTHING | _count_tokens(completion) | score_completion(question, completion)


def score_completion(question: Mapping[str, Any], completion: Completion) -> dict[str, Any]:
    """Returns a completion's text and what either scorer makes of it.

    One without text is given to neither scorer: the authors' ``eval.py`` leaves it out of the count, here it is wrong.
    """
    options = {option["label"]: option["text"] for option in question["options"]}
    right, truncated = question["answer_label"], completion.finish_reason is FinishReason.length
    strict = strict_answer(completion.text, options, several=has_several_right(question), truncated=truncated)
    scored = {
        "text": completion.text,
        "finish_reason": completion.finish_reason.value,
        "strict_label": strict.label,
        "strict_fault": strict.fault,
        "strict_correct": strict.label == right,
    }
    if not completion.text:
        return scored
    authors = authors_answer(completion.text, options)
    return scored | {
        "authors_first": authors.first,
        "authors_last": authors.last,
        "authors_by": authors.by.value,
        "authors_first_correct": authors.first == right,
        "authors_last_correct": authors.last == right,
    }


def _count_tokens(completion: Completion) -> dict[str, int]:
    spent = completion.prompt_tokens, completion.completion_tokens
    return dict(zip(_TOKENS, (0, 0, sum(spent)) if completion.replayed else (*spent, 0), strict=True))


def _as_row(
    question: Mapping[str, Any], engine: Engine, config: Config, samples: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    tokens: Counter[str] = Counter({"requests": sum(sample["finish_reason"] is not None for sample in samples)})
    for sample in samples:
        tokens.update({name: sample[name] for name in _TOKENS})
    failed = any(sample["error"] for sample in samples)
    return {
        "benchmark": question["dataset"],
        "status": Asked.failed if failed else Asked.answered,
        "samples": list(samples),
        "prompt": find_template(config.evaluate).row,
        "usage": [{"stage": Stage.evaluate, **tokens}],
        "model": engine.model,
    }
