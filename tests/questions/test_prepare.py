"""Selection (pure), what ``prepare`` writes, and its faults as the command line shows them."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medreason_dist.command import run_job
from medreason_dist.config import Config, DecontaminationConfig, QuestionsConfig, load_config
from medreason_dist.errors import ConfigError, ReconcileError, SourceError
from medreason_dist.questions.decontamination import BenchmarkIndex, BenchmarkRow
from medreason_dist.questions.prepare import (
    Counts,
    Selection,
    add_counts,
    plan_shards,
    read_questions,
    require_reconciled,
    select_questions,
    write_questions,
)
from medreason_dist.questions.readers import SourceRow, parse_row
from medreason_dist.questions.similarity import comparable
from medreason_dist.schemas import DROPPED, QUESTIONS, Dataset
from medreason_dist.storage import Folder

if TYPE_CHECKING:
    from benchmarks.s3_server import S3Server

SHARED_SOURCES = {
    "medqa": "qa/medqa.jsonl",
    "medmcqa": "qa/medmcqa.jsonl",
    "pubmedqa": "qa/pubmedqa_labeled.jsonl",
    "mmlu": "qa/mmlu_medical.jsonl",
    "medxpertqa": "eval/medxpertqa.jsonl",
    "huatuo": "qa/huatuo_o1.jsonl",
    "hle": "eval/hle_biomed.jsonl",
}


def open_row(word: str) -> dict[str, Any]:
    return {"Question": f"What is {word}?", "Complex_CoT": "thinking", "Response": f"It is {word}."}


def source_rows(rows: Iterable[tuple[Dataset, Any]]) -> list[SourceRow]:
    numbers: Counter[Dataset] = Counter()
    out = []
    for dataset, row in sorted(rows, key=lambda pair: list(Dataset).index(pair[0])):
        out.append(SourceRow(dataset, numbers[dataset], row, parse_row(dataset, numbers[dataset], row)))
        numbers[dataset] += 1
    return out


def select(rows: Iterable[tuple[Dataset, Any]], limit: int | None = None, benchmark: Iterable[str] = ()) -> Selection:
    indexed = (BenchmarkRow("bench", number, comparable(question, ())) for number, question in enumerate(benchmark))
    return select_questions(
        source_rows(rows), BenchmarkIndex(indexed, DecontaminationConfig()), QuestionsConfig(), limit
    )


def config_of(folder: Path, *pairs: str, **sources: Any) -> Config:
    overrides = [f"questions.sources.{dataset}={path}" for dataset, path in sources.items()]
    return load_config(Config, None, [f"run.uri={folder}", *overrides, *pairs])


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


ROWS = st.lists(
    st.one_of(
        st.sampled_from("abcdef").map(lambda word: (Dataset.huatuo, open_row(word))),
        st.sampled_from("abcdef").map(
            lambda word: (Dataset.hle, {"question": f"What  is {word}?", "answer": f"It is {word}.", "id": word})
        ),
        st.just((Dataset.huatuo, {"Question": 3})),
    ),
    max_size=30,
)


# Selection -----------------------------------------------------------------------------------------------------------


@given(ROWS, st.randoms(use_true_random=False))
def test_questions_do_not_depend_on_the_order_of_rows(rows: list[tuple[Dataset, Any]], random: Any) -> None:
    shuffled = rows.copy()
    random.shuffle(shuffled)
    one, other = select(rows), select(shuffled)
    assert [q["question_id"] for q in one.questions] == [q["question_id"] for q in other.questions]
    assert [q["dataset"] for q in one.questions] == [q["dataset"] for q in other.questions]
    assert one.sources == dict(sorted(other.sources.items(), key=lambda item: list(one.sources).index(item[0])))


@given(ROWS, st.integers(1, 8), st.integers(1, 8))
def test_a_larger_limit_extends_a_smaller_one(rows: list[tuple[Dataset, Any]], one: int, more: int) -> None:
    small, large, whole = select(rows, one), select(rows, one + more), select(rows)
    assert small.questions == large.questions[:one]
    assert large.questions == whole.questions[: one + more]
    assert small.dropped == large.dropped == whole.dropped
    for selection in (small, large, whole):
        total = add_counts(selection.sources.values())
        assert total.rows_read == len(rows) == total.dropped + total.beyond_limit + total.questions
        assert total.questions == len(selection.questions)


@given(ROWS, st.integers(1, 8), st.integers(1, 5))
def test_shards_hold_every_question_once_in_order(rows: list[tuple[Dataset, Any]], limit: int, size: int) -> None:
    questions = select(rows, limit).questions
    shards = plan_shards(questions, size)
    assert [question for shard in shards.values() for question in shard] == questions
    assert list(shards) == [f"shard={number:05d}.parquet" for number in range(len(shards))]
    assert all(len(shard) == size for shard in list(shards.values())[:-1])


def test_duplicates_across_sources_keep_the_first_dataset() -> None:
    hle = {"question": "What is\u00a0 gout?", "answer": "It is gout.", "id": "h"}
    selection = select([(Dataset.hle, hle), (Dataset.huatuo, open_row("gout")), (Dataset.huatuo, open_row("gout"))])
    assert [(q["dataset"], q["row_in_dataset"]) for q in selection.questions] == [("huatuo", 0)]
    kept = selection.questions[0]["question_id"]
    assert [(d["dataset"], d["row_in_dataset"], d["drop_reason"]) for d in selection.dropped] == [
        ("huatuo", 1, "duplicate"),
        ("hle", 0, "duplicate"),
    ]
    assert {d["detail"] for d in selection.dropped} == {f"same content as huatuo:0, the first that has it; id {kept}"}
    assert json.loads(selection.dropped[1]["row"]) == hle


def test_another_answer_is_another_question() -> None:
    other = {**open_row("gout"), "Response": "It is scurvy."}
    assert len(select([(Dataset.huatuo, open_row("gout")), (Dataset.huatuo, other)]).questions) == 2


def test_contaminated_rows_name_the_benchmark_row() -> None:
    rows = [(Dataset.huatuo, open_row(word)) for word in ("GOUT", "scurvy", "GOUT")]
    selection = select(rows, benchmark=["What is rickets?", " what IS  gout"])
    assert len(selection.questions) == 1
    assert [d["detail"] for d in selection.dropped] == ["same question as bench:1"] * 2
    assert selection.sources["huatuo"].dropped_by_reason == {"contaminated": 2}
    assert selection.decontamination["benchmarks"] == {"bench": 2}
    assert selection.decontamination["dropped_by_method"] == {"exact": 2, "ngram_overlap": 0, "near_duplicate": 0}
    assert select(rows).decontamination == {}


def test_counts_that_do_not_add_up() -> None:
    good = Counts(rows_read=5, dropped=2, dropped_by_reason={"duplicate": 2}, beyond_limit=1, questions=2)
    require_reconciled("medqa", good)
    for change in ({"rows_read": 6}, {"questions": 1}, {"dropped": 3, "questions": 1}):
        with pytest.raises(ReconcileError, match="medqa"):
            require_reconciled("medqa", dataclasses.replace(good, **change))  # type: ignore[arg-type]


class Prepared(NamedTuple):
    """What was written: counts in all and by source, and the questions in each file of ``questions/``."""

    total: Counts
    sources: dict[str, Counts]
    shards: dict[str, int]


def prepare(config: Config, run: Folder) -> Prepared:
    """Reads and writes a fresh run's questions."""
    selection = read_questions(config)
    shards = write_questions(run, selection.questions, selection.dropped, {}, config.run.shard_questions)
    return Prepared(add_counts(selection.sources.values()), selection.sources, shards)


# Real input ----------------------------------------------------------------------------------------------------------


def shared_pairs(shared: Path, key: str, files: dict[str, str]) -> list[str]:
    return [f"questions.{key}.{name}={shared / 'data' / path}" for name, path in files.items()]


@pytest.mark.slow
def test_shared_sources(shared: Path, tmp_path: Path) -> None:
    pairs = shared_pairs(shared, "sources", SHARED_SOURCES)
    pairs += shared_pairs(shared, "decontaminate", {"medqa_test": "eval/medqa_test.jsonl"})
    prepared = prepare(config_of(tmp_path, *pairs), Folder(str(tmp_path)))
    found = {name: (c.rows_read, c.dropped_by_reason, c.questions) for name, c in prepared.sources.items()}
    assert found == {
        "medqa": (700, {"contaminated": 700}, 0),
        "medmcqa": (2000, {"invalid_input": 3, "near_duplicate": 7}, 1990),
        "pubmedqa": (500, {}, 500),
        "mmlu": (600, {"duplicate": 21}, 579),
        "medxpertqa": (700, {"contaminated": 1}, 699),  # 0.96 of its 8-grams are in a MedQA row, other age and options
        "huatuo": (120, {}, 120),
        "hle": (60, {"invalid_input": 1}, 59),
    }
    assert (prepared.total.rows_read, prepared.total.dropped, prepared.total.questions) == (4680, 733, 3947)
    assert list(prepared.shards.values()) == [64] * 61 + [43]
    folder = Folder(str(tmp_path))
    tables = [folder.child("questions").read_table(name, QUESTIONS) for name in prepared.shards]
    ids = [question for table in tables for question in table["question_id"].to_pylist()]
    assert ids == sorted(set(ids)) and len(ids) == 3947
    assert folder.child("dropped").read_table("part=00000.parquet", DROPPED).num_rows == 733


@pytest.mark.slow
def test_decontamination_against_every_shared_benchmark(shared: Path, tmp_path: Path) -> None:
    pairs = shared_pairs(shared, "sources", SHARED_SOURCES)
    benchmarks = {
        "medxpertqa": "eval/medxpertqa.jsonl",
        "hle": "eval/hle_biomed.jsonl",
        "mmlu": "qa/mmlu_medical.jsonl",
    }
    benchmarks |= {"pubmedqa": "qa/pubmedqa_labeled.jsonl", "huatuo": "qa/huatuo_o1.jsonl"}
    pairs += shared_pairs(shared, "decontaminate", benchmarks)
    counts = read_questions(config_of(tmp_path, *pairs)).sources
    left = {name: each.questions for name, each in counts.items()}
    assert left == {
        "medqa": 699,  # one is a MedXpertQA question with another age
        "medmcqa": 1990,  # «Which of the following is true?» is in MMLU too, with other options
        "pubmedqa": 0,
        "mmlu": 0,
        "medxpertqa": 0,
        "huatuo": 0,
        "hle": 0,
    }


@pytest.mark.slow
def test_same_input_gives_the_same_bytes_in_any_order_of_sources(shared: Path, tmp_path: Path) -> None:
    contents = []
    for index, order in enumerate((1, -1)):
        pairs = shared_pairs(shared, "sources", dict(list(SHARED_SOURCES.items())[::order]))
        prepare(config_of(tmp_path, "run.limit=500", *pairs), Folder(str(tmp_path / str(index))))
        folder = Folder(str(tmp_path / str(index)))
        contents.append({name: folder.read(name) for name in folder.names()})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 8 + 1


def test_the_files_of_the_benchmarks_are_recorded_by_their_digests(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "h.jsonl", map(open_row, "abc"))
    (tmp_path / "many").mkdir()
    files = [write_rows(tmp_path / place, [open_row(place)]) for place in ("many/1.jsonl", "many/2.jsonl", "one.jsonl")]
    benchmarks = [f"questions.decontaminate.huatuo={tmp_path / 'many'}", f"questions.decontaminate.other={files[2]}"]
    record = read_questions(config_of(tmp_path, *benchmarks, huatuo=source)).decontamination
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert record["files"] == {"huatuo": digests[:2], "other": digests[2:]}
    assert read_questions(config_of(tmp_path, huatuo=source)).decontamination == {}


# What is written -----------------------------------------------------------------------------------------------------


def test_limit_extends_shards_and_a_smaller_one_removes_them(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "h.jsonl", map(open_row, "abcdefghij"))
    folder = Folder(str(tmp_path / "run"))
    shards: dict[int, dict[str, bytes]] = {}
    for limit in (4, 9, 4):
        pairs = (f"run.limit={limit}", "run.shard_questions=2")
        prepared = prepare(config_of(tmp_path, *pairs, huatuo=path), folder)
        assert (prepared.total.questions, prepared.total.beyond_limit) == (limit, 10 - limit)
        names = folder.child("questions").names()
        assert names == list(prepared.shards)
        contents = {name: folder.child("questions").read(name) for name in names}
        shards.setdefault(limit, contents)
        assert shards[limit] == contents
    assert all(shards[9][name] == content for name, content in shards[4].items())


def test_dropped_rows_are_kept_as_read(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    lines = [json.dumps(open_row("a")), '{"Question": "\\ud800", "Response": "x"}', "{oops", '{"Question": "é"}']
    path.write_text("\n".join(lines), encoding="utf-8")
    prepare(config_of(tmp_path, huatuo=path), Folder(str(tmp_path / "run")))
    rows = Folder(str(tmp_path / "run/dropped")).read_table("part=00000.parquet", DROPPED).to_pylist()
    assert [row["row"] for row in rows] == lines[1:]
    assert [row["row_in_dataset"] for row in rows] == [1, 2, 3]
    assert rows[0]["detail"] == "Question: lone surrogate U+D800 at character 0; allowed: Unicode text"
    assert rows[1]["detail"].startswith("row: line 3 of h.jsonl is not JSON: ")
    assert rows[2]["detail"] == "Response: missing; allowed: a value"


@pytest.mark.s3
def test_sources_and_run_on_s3(tmp_path: Path, s3: S3Server) -> None:
    bucket = s3.new_bucket()
    folder = Folder(bucket, s3.storage)
    rows = "".join(json.dumps(open_row(word)) + "\n" for word in "abc").encode()
    folder.write("in/1.jsonl.gz", gzip.compress(rows))
    folder.write("in/2.jsonl", rows)
    pairs = [f"storage.endpoint_url={s3.endpoint_url}", "storage.region=us-east-1"]
    for source, dropped in ((f"{bucket}/in", {"duplicate": 3}), (f"{bucket}/in/2.jsonl", {})):
        prepared = prepare(config_of(tmp_path, *pairs, huatuo=source), folder.child("run"))
        assert (prepared.total.questions, prepared.total.dropped_by_reason) == (3, dropped)
    assert folder.child("run").names() == ["dropped/part=00000.parquet", "questions/shard=00000.parquet"]
    with pytest.raises(SourceError, match="no such file"):
        prepare(config_of(tmp_path, *pairs, huatuo=f"{bucket}/none.jsonl"), folder)


# Faults --------------------------------------------------------------------------------------------------------------


def test_no_sources(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are no questions"):
        read_questions(config_of(tmp_path))


def test_benchmark_row_without_a_question_stops_the_run(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "h.jsonl", [open_row("a")])
    for bad in ({"problem": "x"}, {"question": " "}, {"question": 3}, [1]):
        benchmark = write_rows(tmp_path / "b.jsonl", [open_row("b"), bad])
        with pytest.raises(SourceError, match="row 1 has no question") as caught:
            read_questions(config_of(tmp_path, f"questions.decontaminate.bench={benchmark}", huatuo=path))
        assert "questions.decontaminate.bench" in caught.value.where


BAD_FILES = [
    ("none.jsonl", None, "there is no such file"),
    ("empty.jsonl", b"", "the file has no rows"),
    ("cut.jsonl.gz", gzip.compress(b'{"Question": "a"}\n' * 50)[:-12], "the gzip file is cut off"),
    ("latin.jsonl", b'{"Question": "caf\xe9"}\n', "the file is not UTF-8: byte 0xe9 at byte 17 of line 1"),
    ("types.jsonl", b'{"Question": 1, "Response": 2}\n', "no row fits the dataset huatuo"),
    ("other.jsonl", b'{"question": "q", "answer": "a"}\n', "no row fits the dataset huatuo"),
    ("broken.json", b'[{"Question": ', "the file is not JSON"),
    ("table.csv", b"Question\n", "the file is of no known kind"),
]


@pytest.mark.parametrize("key", ["sources.huatuo", "decontaminate.bench"])
@pytest.mark.parametrize(("name", "content", "what"), BAD_FILES, ids=[name for name, _, _ in BAD_FILES])
def test_bad_file_ends_the_job_with_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, name: str, content: bytes | None, what: str
) -> None:
    if key.startswith("decontaminate") and "no row fits" in what:
        content, what = b'{"text": "q"}\n', "row 0 has no question"
    if content is not None:
        (tmp_path / name).write_bytes(content)
    good = write_rows(tmp_path / "good.jsonl", [open_row("a")])
    run = Folder(str(tmp_path / "run"))
    overrides = [f"questions.sources.huatuo={good}", f"questions.{key}={tmp_path / name}"]
    with pytest.raises(SystemExit) as caught:
        run_job(lambda config: print(prepare(config, run)), overrides)
    output = capsys.readouterr()
    assert caught.value.code == 2
    assert output.out == ""
    assert output.err.startswith(f"error: {what}") and output.err.count("error:") == 1
    assert name in output.err and "next:" in output.err and "Traceback" not in output.err
    assert run.names() == []


@pytest.mark.slow
def test_exit_code_of_a_process(tmp_path: Path) -> None:
    script = (
        "from medreason_dist.command import run_job; from medreason_dist.questions.prepare import read_questions;"
        "run_job(lambda config: print(read_questions(config)))"
    )
    argument = f"questions.sources.medqa={tmp_path / 'none.jsonl'}"
    done = subprocess.run([sys.executable, "-c", script, argument], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no such file") and "Traceback" not in done.stderr
