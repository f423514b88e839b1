"""The files that came back: ``answers/`` of a review's folder."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any, Final

from medreason_dist.errors import RunError, SourceError
from medreason_dist.review.answers import SAVE_AGAIN, Answers, parse_answers
from medreason_dist.review.key import Key
from medreason_dist.review.workbook import read_workbook
from medreason_dist.storage import Folder

ANSWERS: Final = "answers"


def read_answers(folder: Folder, key: Key) -> dict[str, Answers]:
    """Returns what came back, by reviewer in the order of the key.

    Raises :class:`RunError` where nothing did, :class:`SourceError` for two files of a reviewer and for one that is none
    of this review (:func:`~medreason_dist.review.answers.parse_answers`).
    """
    inbox = folder.child(ANSWERS)
    # What a file manager or an open spreadsheet leaves beside the files is nobody's answer.
    names = [name for name in inbox.names() if not PurePosixPath(name).name.startswith((".", "~$"))]
    if not names:
        raise RunError("nobody has answered yet: the folder is empty", inbox.uri, "put the files there that came back")
    found: dict[str, tuple[str, Answers]] = {}
    for name in names:
        where = f"{inbox.uri}/{name}"
        answers = parse_answers(_read_file(name, inbox.read(name), where), key, where)
        if (there := found.get(answers.reviewer)) is not None:
            alike = "the same answers" if there[1] == answers else "other answers"
            what = f"two files are of {answers.reviewer}: {there[0]} has {alike}"
            raise SourceError(what, where, "keep the one that counts, and move the other away")
        found[answers.reviewer] = name, answers
    return {reviewer: found[reviewer][1] for reviewer in key.reviewers if reviewer in found}


def _read_file(name: str, content: bytes, where: str) -> Any:
    match PurePosixPath(name).suffix.lower():
        case ".json":
            try:
                return json.loads(content)
            except (ValueError, RecursionError) as error:
                raise SourceError(f"the file is not JSON: {error}", where, SAVE_AGAIN) from None
        case ".xlsx":
            return read_workbook(content, where)
    what = "the file is neither the .json that a review page saves nor a review's .xlsx"
    raise SourceError(what, where, "move it out of the folder")
