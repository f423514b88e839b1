"""Evaluations side by side: the text, the page, and folders that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from medreason_dist.errors import RunError
from medreason_dist.evaluation.comparison import (
    format_difference,
    format_evaluations,
    format_p_value,
    read_evaluations,
    write_comparison,
)
from medreason_dist.evaluation.score import Estimate
from medreason_dist.storage import MANIFEST, Folder
from tests.evaluation.predictions import RIGHT, WRONG, Sample, rows, write_evaluation

HOSTILE = "<script>alert(1)</script>"
LUCKY: Sample = (False, False, True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Folder]:
    path = tmp_path_factory.mktemp("evaluations")
    small = rows("medqa", [RIGHT] * 50 + [LUCKY] * 20 + [WRONG] * 30, HOSTILE) + rows("hle", [RIGHT] * 5 + [WRONG] * 15)
    large = rows("medqa", [RIGHT] * 49 + [WRONG] + [RIGHT] * 9 + [WRONG] * 41) + rows("hle", [RIGHT] * 8 + [WRONG] * 12)
    return [write_evaluation(path / "small", small), write_evaluation(path / "large", large)]


def test_text_has_both_scores_with_intervals_and_the_paired_test(folders: list[Folder]) -> None:
    lines = format_evaluations(read_evaluations(folders)).splitlines()
    (medqa, _) = [
        line.split() for line in lines if line.startswith("  medqa") and "strict" not in line and "'" not in line
    ]
    assert medqa == "medqa 100 50.0 [40.4, 59.6] 70.0 [60.4, 78.1] last 0 0".split()
    assert sum(line.startswith("  macro average") for line in lines) == 4
    (paired,) = [line.split() for line in lines if line.startswith("  medqa") and "strict" in line]
    assert (paired[2], paired[-3:]) == ("+8.0", ["1", "9", "0.021"])
    assert "large less small" in lines


def test_page_is_self_contained_and_escapes_what_it_shows(folders: list[Folder]) -> None:
    where = write_comparison(folders[0], read_evaluations(folders))
    page = folders[0].read("comparison.html").decode()
    assert where == f"{folders[0].uri}/comparison.html"
    assert page.count('class="chart"') == 2
    assert "http://" not in page
    assert "https://" not in page
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "50.0 [40.4, 59.6]" in page
    assert "large less small" in page
    assert folders[0].read("comparison.html") == page.encode()


@pytest.mark.slow
def test_one_evaluation_has_a_page_without_pairs(folders: list[Folder]) -> None:
    write_comparison(folders[1], read_evaluations(folders[1:]))
    assert "Two by two" not in folders[1].read("comparison.html").decode()


def test_folders_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    folders = [write_evaluation(tmp_path / side / "run", rows("hle", [RIGHT] * 4)) for side in "ab"]
    assert [each.name for each in read_evaluations(folders)] == [folder.uri for folder in folders]


def test_other_questions_are_refused(tmp_path: Path, folders: list[Folder]) -> None:
    other = write_evaluation(tmp_path / "other", rows("medqa", [RIGHT] * 90))
    with pytest.raises(RunError, match="not on the same questions of medqa"):
        format_evaluations(read_evaluations([folders[0], other]))


def test_folders_that_are_no_finished_evaluation(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with pytest.raises(RunError, match="not finished"):
        read_evaluations([folder])
    folder.write_json(MANIFEST, {"accepted": 3})
    with pytest.raises(RunError, match="no evaluation"):
        read_evaluations([folder])
    folder.write_json(MANIFEST, {"scores": {}})
    with pytest.raises(RunError, match="no predictions"):
        read_evaluations([folder])


def test_numbers_as_they_are_shown() -> None:
    assert format_difference(Estimate(-0.02, -0.051, 0.01)) == "-2.0 [-5.1, +1.0]"
    assert [format_p_value(each) for each in (None, 0.0002, 0.0312, 1.0)] == ["–", "< 0.001", "0.031", "1"]
