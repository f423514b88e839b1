"""A questionnaire as a spreadsheet (.xlsx), and its answers read back. One row a trace; only answers can be edited.

The same questionnaire gives the same bytes. All text is stored as text, so that none is a formula, whatever it begins with.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from openpyxl import Workbook, load_workbook
from openpyxl.cell import Cell
from openpyxl.styles import Alignment, Font, PatternFill, Protection
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet
from openpyxl.writer.excel import ExcelWriter

from medreason_dist.errors import SourceError
from medreason_dist.review.answers import SAVE_AGAIN
from medreason_dist.review.criteria import GRADES, GUIDES, Criterion, Preference
from medreason_dist.review.questionnaire import VERSION, Item, Questionnaire

ABOUT: Final = "about"
REVIEW: Final = "review"
SHOWN: Final[Mapping[str, int]] = {"item": 8, "trace": 7, "question": 50, "reference answer": 30, "steps": 80}
"""Columns of what is reviewed, with their widths in characters."""
ASKED: Final[Mapping[str, int]] = {**dict.fromkeys(Criterion, 13), "wrong steps": 34, "comment": 34, "preference": 12}
COLUMNS: Final = (*SHOWN, *ASKED)
LONGEST_CELL: Final = 32_767
"""Characters, by the file format."""
LARGEST_BYTES: Final = 200 * 1024**2
"""Of a workbook that is read, unpacked."""

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WRONG_STEP = re.compile(r"\s*(\d+)\s*(?::\s*(.*?)\s*)?")
_LONG_AGO = datetime(2000, 1, 1)
_FILL = PatternFill("solid", fgColor="FFF6DD")
_TOP = Alignment(vertical="top", wrap_text=True)
_INTRODUCTION = (
    "Fill in the yellow cells of the sheet «review», save the workbook under its name and send it back. You need not "
    "finish: what is empty counts as not answered.",
    "Where a question has two traces, which is A and which is B was drawn anew for each.",
    "Grades are from 1 to 5 and mean what stands below.",
    "Wrong steps: one on a line, by its number, with a colon and why if you want to say so: «3: the dose is too high».",
    "Comment: anything else on this trace.",
    "Preference, where there are two traces, once in the row of trace A: A, B, or none where neither is better.",
    "Nothing but your answers is read. Spreadsheet programs also write the name of their user into files; this workbook "
    "asks them not to. The review page does not know it.",
)


def write_workbook(questionnaire: Questionnaire) -> bytes:
    """Returns the workbook of a questionnaire."""
    book = Workbook()
    about, review = book.active, book.create_sheet(REVIEW)
    about.title = ABOUT
    _write_about(about, questionnaire)
    _write_review(review, questionnaire)
    book.active = review
    book.properties.creator = "medreason_dist"
    book.properties.created = book.properties.modified = _LONG_AGO
    content = io.BytesIO()
    # Workbook.save would write the time of day.
    ExcelWriter(book, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED)).save()
    return _settle(content)


def read_workbook(content: bytes, where: str) -> dict[str, Any]:
    """Returns a workbook's answers as a page saves them, without a digest and unchecked.

    Raises :class:`SourceError` for a file that is no workbook of a review.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if (unpacked := sum(each.file_size for each in archive.infolist())) > LARGEST_BYTES:
                raise SourceError(f"the workbook unpacks to {unpacked:,} bytes", where, SAVE_AGAIN)
        book = load_workbook(io.BytesIO(content))
        about, review = book[ABOUT], book[REVIEW]
    except SourceError:
        raise
    # openpyxl lets through whatever the parts of a broken file raise.
    except Exception as error:
        what = f"the file is not a review's workbook: {type(error).__name__}: {error}"
        raise SourceError(what, where, SAVE_AGAIN) from None
    facts = dict(about.iter_rows(max_row=3, max_col=2, values_only=True))
    head, *rows = review.iter_rows(max_col=len(COLUMNS), values_only=True)
    if head != COLUMNS:
        raise SourceError(f"the columns of the sheet «{REVIEW}» are not those that were sent", where, SAVE_AGAIN)
    answers: dict[str, Any] = {}
    for row in rows:
        _read_row(dict(zip(COLUMNS, row, strict=True)), answers, where)
    return {**{name: facts.get(name) for name in ("version", "review", "reviewer")}, "answers": answers}


def _write_about(sheet: Worksheet, questionnaire: Questionnaire) -> None:
    facts = {"version": VERSION, "review": questionnaire.fingerprint, "reviewer": questionnaire.reviewer}
    rows: list[tuple[Any, ...]] = [*facts.items(), (), *(("", text) for text in _INTRODUCTION)]
    for criterion, guide in GUIDES.items():
        rows += [(), (criterion.value, guide.question), *enumerate(guide.anchors, start=GRADES[0])]
    for number, row in enumerate(rows, start=1):
        for column, value in enumerate(row, start=1):
            _write(sheet.cell(number, column), value)
    sheet.column_dimensions["A"].width, sheet.column_dimensions["B"].width = 16, 100
    sheet.protection.sheet = True


def _write_review(sheet: Worksheet, questionnaire: Questionnaire) -> None:
    for column, (name, width) in enumerate({**SHOWN, **ASKED}.items(), start=1):
        _write(sheet.cell(1, column), str(name)).font = Font(bold=True)
        sheet.column_dimensions[get_column_letter(column)].width = width
    for number, row in enumerate(_rows(questionnaire), start=2):
        for column, name in enumerate(COLUMNS, start=1):
            cell = _write(sheet.cell(number, column), row.get(name))
            if name in ASKED and name not in row:
                cell.protection, cell.fill = Protection(locked=False), _FILL
                # Text, so that «2,3» does not become a number and «=…» no formula.
                cell.number_format = "General" if isinstance(name, Criterion) else "@"
    last = sheet.max_row
    for choices, names in ((GRADES, list(Criterion)), (list(Preference), ["preference"])):
        listed = ",".join(map(str, choices))
        allowed = DataValidation("list", formula1=f'"{listed}"', showErrorMessage=True, error=f"One of {listed}")
        for letter in (get_column_letter(COLUMNS.index(name) + 1) for name in names):
            allowed.add(f"{letter}2:{letter}{last}")
        sheet.add_data_validation(allowed)
    sheet.freeze_panes = "C2"
    sheet.protection.sheet = True
    sheet.protection.formatColumns = sheet.protection.formatRows = False


def _rows(questionnaire: Questionnaire) -> Iterator[Mapping[str, str]]:
    """Yields the row of each trace; columns that it lacks are to be answered."""
    for item in questionnaire.items:
        for side, steps in item.traces.items():
            row = {
                "item": item.id,
                "trace": side,
                "question": "\n\n".join(filter(None, (item.context, item.question, item.options))),
                "reference answer": item.answer,
                "steps": "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1)),
            }
            yield row if _asks_preference(item, side) else {**row, "preference": ""}


def _asks_preference(item: Item, side: str) -> bool:
    return item.paired and side == next(iter(item.traces))


def _write(cell: Cell, value: Any) -> Cell:
    cell.value = _clean(value) if isinstance(value, str) else value
    if isinstance(value, str):
        # openpyxl takes «=…» for a formula and «#N/A» for an error; the prefix keeps it text where it is edited.
        cell.data_type, cell.quotePrefix = "s", value.startswith(("=", "+", "-", "@"))
    cell.alignment = _TOP
    return cell


def _clean(text: str) -> str:
    text = _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
    cut = " … (cut: the review page has all of it)"
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - len(cut)] + cut


def _settle(content: io.BytesIO) -> bytes:
    """Returns an archive without times of day, whose workbook asks for no personal data (ECMA-376, 18.2.28)."""
    settled = io.BytesIO()
    with zipfile.ZipFile(content) as archive, zipfile.ZipFile(settled, "w", zipfile.ZIP_DEFLATED) as other:
        for name in archive.namelist():
            part = archive.read(name)
            if name == "xl/workbook.xml":
                part = part.replace(b"<workbookPr />", b'<workbookPr filterPrivacy="1" />')
            other.writestr(zipfile.ZipInfo(name), part, zipfile.ZIP_DEFLATED)
    return settled.getvalue()


def _read_row(row: Mapping[str, Any], answers: dict[str, Any], where: str) -> None:
    """Adds one trace to the answers; rows may have been sorted, and empty ones been added."""
    if all(value is None for value in row.values()):
        return
    item, side = str(row["item"]), str(row["trace"])
    here = f"{where}, item {item:.40}, trace {side:.40}"
    held = answers.setdefault(item, {"preference": None, "traces": {}})
    if side in held["traces"]:
        raise SourceError("the workbook has two rows of one trace", here, SAVE_AGAIN)
    held["traces"][side] = {
        "grades": {criterion.value: _read_grade(row[criterion]) for criterion in Criterion},
        "wrong": _read_wrong(row["wrong steps"], here),
        "comment": "" if row["comment"] is None else str(row["comment"]),
    }
    if row["preference"]:
        if held["preference"] is not None:
            raise SourceError("the workbook has two preferences for one item", here, SAVE_AGAIN)
        held["preference"] = row["preference"]


def _read_grade(value: Any) -> Any:
    """Returns a grade as a number also where a program stored it as text, None for an empty cell."""
    if isinstance(value, str):
        return int(value) if value.strip().isdecimal() else value.strip() or None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read_wrong(value: Any, where: str) -> dict[str, str]:
    wrong: dict[str, str] = {}
    for line in filter(str.strip, str("" if value is None else value).splitlines()):
        match = _WRONG_STEP.fullmatch(line)
        if match is None:
            what = f"the wrong step {line!r:.80} is not a number, with a colon and a reason behind it if there is one"
            raise SourceError(what, where, "write one step on a line, such as «3» or «3: the dose is too high»")
        wrong[str(int(match[1]))] = match[2] or ""
    return wrong
