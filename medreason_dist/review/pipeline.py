"""The two commands: a sample becomes questionnaires, and what came back becomes a summary.

_key.json                 key.py: the sample and all sides; written first, stays at the lab
review-<reviewer>.html    what a reviewer gets,
review-<reviewer>.xlsx    in one form or the other
answers/                  what they send back
summary.json, .html       what came of it
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from medreason_dist.config import Config
from medreason_dist.errors import ConfigError
from medreason_dist.review.inbox import read_answers
from medreason_dist.review.key import Key, claim_folder, read_key
from medreason_dist.review.page import render_questionnaire
from medreason_dist.review.presentation import render_summary
from medreason_dist.review.sample import draw_sample
from medreason_dist.review.summary import Summary, summarise
from medreason_dist.review.workbook import write_workbook
from medreason_dist.storage import Folder

SUMMARY: Final = "summary.json"
SUMMARY_PAGE: Final = "summary.html"
_PSEUDONYM = re.compile(r"[A-Za-z0-9_-]{1,40}")


def prepare_review(config: Config) -> Key:
    """Draws the sample, writes what each reviewer gets and returns the key.

    The same command again changes nothing; a reviewer who is named anew is added. Raises :class:`ConfigError` for a name
    that is no pseudonym, and as :func:`~medreason_dist.review.sample.draw_sample` and
    :func:`~medreason_dist.review.key.claim_folder` do.
    """
    require_pseudonyms(config.review.reviewers)
    folder = Folder(config.review.uri, config.storage)
    key = claim_folder(folder, draw_sample(config), config.review.reviewers)
    there = set(folder.names())
    for reviewer in key.reviewers:
        page, workbook = (f"review-{reviewer}{suffix}" for suffix in (".html", ".xlsx"))
        if page not in there:
            folder.write(page, render_questionnaire(key.questionnaire(reviewer)).encode())
        if workbook not in there:
            folder.write(workbook, write_workbook(key.questionnaire(reviewer)))
    return key


def summarise_review(config: Config) -> Summary:
    """Reads the answers that came back, writes the summary and returns it.

    Raises as :func:`~medreason_dist.review.key.read_key` and :func:`~medreason_dist.review.inbox.read_answers` do; a
    summary that is there stays then.
    """
    folder = Folder(config.review.uri, config.storage)
    key = read_key(folder)
    summary = summarise(key, read_answers(folder, key))
    folder.write_json(SUMMARY, asdict(summary))
    folder.write(SUMMARY_PAGE, render_summary(summary).encode())
    return summary


def require_pseudonyms(reviewers: Sequence[str]) -> None:
    """Raises :class:`ConfigError` unless each reviewer has a pseudonym of their own."""
    where = "review.reviewers"
    if not reviewers:
        raise ConfigError("there is no reviewer", where, "name one or more, such as review.reviewers=[r1,r2,r3]")
    for name in reviewers:
        if not _PSEUDONYM.fullmatch(name):
            what = (
                f"'{name:.80}' is no pseudonym: it goes into file names and files that are sent about, which must not "
            )
            what += "tell who a reviewer is"
            raise ConfigError(
                what, where, "use up to 40 letters, digits, - and _, such as r1; no name, no e-mail address"
            )
    # Some disks do not tell r1 from R1.
    folded = [name.casefold() for name in reviewers]
    if twice := [name for name in reviewers if folded.count(name.casefold()) > 1]:
        raise ConfigError(f"'{twice[0]}' is named twice, capitals aside", where, "give each reviewer one of their own")
