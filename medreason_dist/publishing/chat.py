"""A trace as a conversation, for tools that fine-tune on messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medreason_dist.publishing.rows import list_options


def chat_row(trace: Mapping[str, Any], system_prompt: str | None) -> dict[str, Any]:
    """Returns an accepted trace as a row of :data:`~medreason_dist.schemas.CHAT`.

    The user gives what the reasoning was written from: context, question and options. The assistant reasons, and ends
    with the right answer as the source has it: ``Answer: C. Metformin``.
    """
    asked = [trace["context"], trace["question"], "\n".join(list_options(trace))]
    messages = [
        ("system", system_prompt),
        ("user", "\n\n".join(part for part in asked if part)),
        ("assistant", f"{trace['reasoning']}\n\nAnswer: {right_answer(trace)}"),
    ]
    return {
        "question_id": trace["question_id"],
        "dataset_name": trace["dataset"],
        "messages": [{"role": role, "content": content} for role, content in messages if content],
    }


def right_answer(trace: Mapping[str, Any]) -> str:
    """Returns the right options with their labels, or the text of an open answer."""
    labels = (trace["answer_label"] or "").split(",")
    return "; ".join(list_options(trace, labels)) or str(trace["answer"])
