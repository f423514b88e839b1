"""A questionnaire as a page: one file that works without a network, keeps its answers in the browser and saves them."""

from __future__ import annotations

from typing import Final

from medreason_dist.report.html import read_script, render_page
from medreason_dist.review.answers import LONGEST_TEXT
from medreason_dist.review.criteria import GUIDES, Preference
from medreason_dist.review.questionnaire import VERSION, Questionnaire

TEMPLATES: Final = "medreason_dist.review"


def render_questionnaire(questionnaire: Questionnaire) -> str:
    """Returns the page; the same questionnaire gives the same bytes."""
    return render_page(
        "questionnaire.html",
        package=TEMPLATES,
        questionnaire=questionnaire,
        paired=any(item.paired for item in questionnaire.items),
        version=VERSION,
        guides=GUIDES,
        preferences=list(Preference),
        longest=LONGEST_TEXT,
        script=read_script("questionnaire.js", package=TEMPLATES),
    )
