"""Reviews of the invented datasets, and files of answers as a page saves them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medreason_dist.config import Config, ReviewConfig
from medreason_dist.ids import fingerprint
from medreason_dist.review.criteria import Criterion
from medreason_dist.review.inbox import ANSWERS
from medreason_dist.review.key import Key
from medreason_dist.review.pipeline import prepare_review
from medreason_dist.review.questionnaire import VERSION
from medreason_dist.review.sample import draw_sample
from tests.review.datasets import published_rows, write_dataset

Prefer = Callable[[str, str], str | None]
"""From reviewer and item to the preferred method, ``none`` or None."""
Grade = Callable[[str, str, str, str], int | None]
"""From reviewer, item, method and criterion to a grade."""


def make_config(
    folder: Path, questions: int = 6, reviewers: Sequence[str] = ("r1", "r2"), *, paired: bool = True, rows: int = 12
) -> Config:
    """Returns the config of a review in ``folder`` of datasets that this writes beside it."""
    write_dataset(folder / "one", published_rows(rows, "graph"))
    if paired:
        write_dataset(folder / "two", published_rows(rows, "plain"))
    return Config(
        review=ReviewConfig(
            uri=f"{folder}/review",
            dataset=f"{folder}/one",
            other=f"{folder}/two" if paired else None,
            questions=questions,
            reviewers=list(reviewers),
        )
    )


def make_key(config: Config) -> Key:
    """Returns the key of a review without writing anything."""
    return Key(draw_sample(config), {}).extend(config.review.reviewers)


def prepare(folder: Path, *arguments: Any, **options: Any) -> tuple[Config, Key]:
    """Returns the config and the key of a review that is ready to be answered."""
    config = make_config(folder, *arguments, **options)
    return config, prepare_review(config)


def answer(key: Key, reviewer: str, prefer: Prefer = lambda *_: None, grade: Grade = lambda *_: None) -> dict[str, Any]:
    """Returns a reviewer's file, without a digest: what they think of methods becomes answers on sides."""
    answers = {}
    for item, sides in key.reviewers[reviewer].sides.items():
        chosen = prefer(reviewer, item)
        by_method = {method: side for side, method in sides.items()}
        answers[item] = {
            "preference": by_method.get(chosen, chosen) if chosen else None,
            "traces": {
                side: {
                    "grades": {each.value: grade(reviewer, item, method, each) for each in Criterion},
                    "wrong": {},
                    "comment": "",
                }
                for side, method in sides.items()
            },
        }
    questionnaire = key.reviewers[reviewer].questionnaire
    return {"version": VERSION, "review": questionnaire, "reviewer": reviewer, "answers": answers}


def send(config: Config, held: Mapping[str, Any], name: str | None = None) -> Path:
    """Puts a file of answers with its digest into the review's folder."""
    place = Path(config.review.uri, ANSWERS, name or f"answers-{held['reviewer']}.json")
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps({**held, "digest": fingerprint(held)}), encoding="utf-8")
    return place
