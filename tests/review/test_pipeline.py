"""The two commands: what they write, that they write over nothing, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medreason_dist.config import Config
from medreason_dist.errors import ConfigError, RunError, SourceError, StorageError
from medreason_dist.review.inbox import ANSWERS
from medreason_dist.review.key import KEY, Key
from medreason_dist.review.pipeline import SUMMARY, SUMMARY_PAGE, prepare_review, summarise_review
from medreason_dist.review.summary import Answered
from medreason_dist.review.workbook import write_workbook
from medreason_dist.storage import Folder
from tests.conftest import run_job
from tests.review.datasets import published_rows, write_dataset
from tests.review.reviews import answer, make_config, prepare, send


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Key]:
    return prepare(tmp_path_factory.mktemp("made"))


@pytest.fixture
def review(made: tuple[Config, Key], tmp_path: Path) -> tuple[Config, Key]:
    """A copy of a review that nobody has answered."""
    config, key = made
    target = Folder(f"{tmp_path}/review")
    for name, content in files(config).items():
        target.write(name, content)
    return change(config, uri=target.uri), key


def change(config: Config, **settings: Any) -> Config:
    return replace(config, review=replace(config.review, **settings))


def files(config: Config) -> dict[str, bytes]:
    folder = Folder(config.review.uri)
    return {name: folder.read(name) for name in folder.names()}


def test_the_same_command_changes_nothing_and_completes_what_was_cut_off(review: tuple[Config, Key]) -> None:
    config, key = review
    before = files(config)
    assert sorted(before) == [KEY, "review-r1.html", "review-r1.xlsx", "review-r2.html", "review-r2.xlsx"]
    assert prepare_review(config) == key
    assert files(config) == before
    Path(config.review.uri, "review-r2.xlsx").unlink()
    prepare_review(config)
    assert files(config) == before


def test_a_reviewer_may_be_added_and_the_others_keep_theirs(review: tuple[Config, Key]) -> None:
    config, key = review
    before = files(config)
    extended = prepare_review(change(config, reviewers=["r3"]))
    assert list(extended.reviewers) == ["r1", "r2", "r3"]
    assert {**extended.reviewers, "r3": None} == {**key.reviewers, "r3": None}
    after = files(config)
    assert set(after) - set(before) == {"review-r3.html", "review-r3.xlsx"}
    assert {name: after[name] for name in before if name != KEY} == {
        name: content for name, content in before.items() if name != KEY
    }


def test_another_sample_or_a_full_folder_is_left_alone(review: tuple[Config, Key], tmp_path: Path) -> None:
    config, _ = review
    write_dataset(tmp_path / "grown", published_rows(20, "graph"))
    before = files(config)
    others = (
        change(config, questions=5),
        change(config, other=None),
        change(config, dataset=f"{tmp_path}/grown"),
        replace(config, run=replace(config.run, seed=7)),
    )
    for other in others:
        with pytest.raises(StorageError, match="another sample is reviewed there"):
            prepare_review(other)
    with pytest.raises(StorageError, match="something else, such as"):
        prepare_review(change(config, uri=f"{tmp_path}/grown"))
    assert files(config) == before


def test_a_dataset_that_was_moved_is_the_same(review: tuple[Config, Key], tmp_path: Path) -> None:
    config, key = review
    write_dataset(tmp_path / "moved", published_rows(12, "graph"))
    assert prepare_review(change(config, dataset=f"{tmp_path}/moved")).sample.fingerprint == key.sample.fingerprint


@pytest.mark.parametrize("name", ["", "Jane Doe", "jane@clinic.example", "r/1", "../r1", "r" * 41, "é", "r1\n"])
def test_what_is_no_pseudonym_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no pseudonym"):
        prepare_review(change(Config(), uri=f"{tmp_path}/review", reviewers=["r1", name]))
    assert not Path(tmp_path, "review").exists()


@pytest.mark.parametrize(("names", "told"), [([], "there is no reviewer"), (["r1", "R1"], "named twice")])
def test_reviewers_are_told_apart(names: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        prepare_review(change(Config(), reviewers=names))


def test_summary_of_a_page_and_a_workbook_that_are_not_finished(review: tuple[Config, Key]) -> None:
    config, key = review
    send(config, answer(key, "r1", prefer=lambda _, item: "first" if item < "q3" else None))
    book = Path(config.review.uri, ANSWERS, "review-r2.xlsx")
    book.write_bytes(write_workbook(key.questionnaire("r2")))
    Path(config.review.uri, ANSWERS, ".DS_Store").write_bytes(b"\x00")
    summary = summarise_review(config)
    assert summary.answered == {"r1": Answered(0, 2, 6, True), "r2": Answered(0, 0, 6, True)}
    assert summary.preferences is not None
    assert summary.preferences.first is not None
    assert (summary.preferences.first.value, summary.preferences.first.judgements) == (1.0, 2)
    assert json.loads(Path(config.review.uri, SUMMARY).read_text())["preferences"]["first"]["value"] == 1.0
    assert "r2" in Path(config.review.uri, SUMMARY_PAGE).read_text()


def drop_item(held: dict[str, Any]) -> None:
    del held["answers"]["q4"]


def add_item(held: dict[str, Any]) -> None:
    held["answers"]["q7"] = held["answers"]["q1"]


def grade_seven(held: dict[str, Any]) -> None:
    held["answers"]["q2"]["traces"]["B"]["grades"]["logic"] = 7


def grade_true(held: dict[str, Any]) -> None:
    held["answers"]["q2"]["traces"]["A"]["grades"]["logic"] = True


def grade_text(held: dict[str, Any]) -> None:
    held["answers"]["q2"]["traces"]["A"]["grades"]["logic"] = "5"


def step_ninety(held: dict[str, Any]) -> None:
    held["answers"]["q1"]["traces"]["A"]["wrong"] = {"90": ""}


def prefer_c(held: dict[str, Any]) -> None:
    held["answers"]["q1"]["preference"] = "C"


def long_comment(held: dict[str, Any]) -> None:
    held["answers"]["q1"]["traces"]["A"]["comment"] = "x" * 10_001


def no_traces(held: dict[str, Any]) -> None:
    held["answers"]["q5"] = None


def other_name(held: dict[str, Any]) -> None:
    held["reviewer"] = "r9"


def name_list(held: dict[str, Any]) -> None:
    held["reviewer"] = ["r1"]


def swapped_name(held: dict[str, Any]) -> None:
    held["reviewer"] = "r2"


def newer(held: dict[str, Any]) -> None:
    held["version"] = 2


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (drop_item, "'q4' is missing"),
        (add_item, "'q7' is nothing that was asked"),
        (grade_seven, "the grade 7 for logic is not a number from 1 to 5"),
        (grade_true, "the grade True for logic"),
        (grade_text, "the grade '5' for logic"),
        (step_ninety, "'90' is called wrong: the trace has steps 1 to"),
        (prefer_c, "the preference is 'C': it must be one of A, B, none"),
        (long_comment, "the comment is not a text of up to 10,000 characters"),
        (no_traces, "None is not what a review page saves"),
        (other_name, "the reviewer 'r9' is unknown: the review has r1, r2"),
        (name_list, "is unknown"),
        (swapped_name, "from another sample"),
        (newer, "of version 2, this one reads 1"),
    ],
)
def test_answers_that_do_not_answer_are_refused_and_the_summary_stays(
    review: tuple[Config, Key], spoil: Any, told: str
) -> None:
    config, key = review
    send(config, answer(key, "r1"))
    summarise_review(config)
    before = files(config)
    held = answer(key, "r1")
    spoil(held)
    place = send(config, held)
    with pytest.raises(SourceError, match=told) as caught:
        summarise_review(config)
    assert caught.value.where.startswith(str(place))
    assert caught.value.remedy
    assert {**files(config), f"{ANSWERS}/{place.name}": b""} == {**before, f"{ANSWERS}/{place.name}": b""}


def test_a_file_that_was_edited_by_hand_is_told(review: tuple[Config, Key]) -> None:
    config, key = review
    place = send(config, answer(key, "r1", grade=lambda *_: 2))
    place.write_text(place.read_text().replace('"logic": 2', '"logic": 5', 1))
    with pytest.raises(SourceError, match="the answers were changed after saving"):
        summarise_review(config)


def test_two_files_of_one_reviewer_are_told_apart(review: tuple[Config, Key]) -> None:
    config, key = review
    send(config, answer(key, "r1"))
    send(config, answer(key, "r1"), "copy.json")
    with pytest.raises(SourceError, match=r"two files are of r1: answers-r1.json has the same answers"):
        summarise_review(config)
    send(config, answer(key, "r1", grade=lambda *_: 3), "copy.json")
    with pytest.raises(SourceError, match="has other answers"):
        summarise_review(config)


def test_answers_to_another_sample_are_told(review: tuple[Config, Key], tmp_path: Path) -> None:
    config, _ = review
    write_dataset(tmp_path / "changed", [{**row, "reasoning": "Anew."} for row in published_rows(12, "graph")])
    changed = change(config, dataset=f"{tmp_path}/changed", uri=f"{tmp_path}/other")
    send(config, answer(prepare_review(changed), "r1"))
    with pytest.raises(SourceError, match="from another sample: not to what r1 was sent"):
        summarise_review(config)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.json", b"{", "not JSON"),
        ("a.json", b"[" * 100_000, "not JSON"),
        ("a.json", b"\xff\xfe\x00", "not JSON"),
        ("a.json", b"[1]", "is not what a review page saves"),
        ("a.xlsx", b"no archive", "not a review's workbook"),
        ("a.csv", b"item,trace", "neither the .json"),
    ],
)
def test_files_of_another_kind_are_told(review: tuple[Config, Key], name: str, content: bytes, told: str) -> None:
    config, _ = review
    Folder(config.review.uri).write(f"{ANSWERS}/{name}", content)
    with pytest.raises(SourceError, match=told):
        summarise_review(config)


def test_nothing_to_summarise(review: tuple[Config, Key], tmp_path: Path) -> None:
    config, _ = review
    with pytest.raises(RunError, match="nobody has answered yet"):
        summarise_review(config)
    with pytest.raises(RunError, match="there is no review"):
        summarise_review(change(config, uri=str(tmp_path)))
    key = Path(config.review.uri, KEY)
    key.write_text(key.read_text().replace("Croup", "Group"))
    with pytest.raises(RunError, match="the key was changed"):
        summarise_review(config)


@pytest.mark.slow
def test_the_job_as_a_user_starts_it(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    settings = [f"review.{name}={getattr(config.review, name)}" for name in ("dataset", "other", "uri")]
    done = run_job("review", *settings, "review.reviewers=[r1]", "review.questions=100")
    assert (done.returncode, done.stderr) == (0, "")
    assert "12 of 12 questions, all there are of the 100 asked for" in done.stdout
    refused = run_job("review", "summarise", *settings)
    assert refused.returncode == 2
    assert "nobody has answered yet" in refused.stderr
    held = json.loads(Path(config.review.uri, KEY).read_text())
    assert held["sample"]["available"] == 12
    book = Folder(config.review.uri).read("review-r1.xlsx")
    Folder(config.review.uri).write(f"{ANSWERS}/r1.xlsx", book)
    done = run_job("review", "summarise", *settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 of 12 complete" in done.stdout
