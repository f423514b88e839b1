"""Files of rows: every form that is read, every fault that stops a run."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medreason_dist.config import StorageConfig
from medreason_dist.errors import SourceError
from medreason_dist.questions.files import Malformed, list_files, read_rows
from medreason_dist.questions.readers import Invalid, read_source
from medreason_dist.schemas import Dataset

ROWS = [
    {"Question": f"What is {word}?", "Complex_CoT": "thinking", "Response": f"It is\u2028{word}."}
    for word in ("asthma", "gout", "scurvy")
]


def as_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def rows_of(path: Path) -> list[Any]:
    return [row for file in list_files(str(path), StorageConfig()) for row in read_rows(file)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", as_lines(ROWS)),
        ("a.jsonl", b"\xef\xbb\xbf" + as_lines(ROWS).replace(b"\n", b"\r\n\r\n")),
        ("a.jsonl", as_lines(ROWS).rstrip()),
        ("a.jsonl.gz", gzip.compress(as_lines(ROWS))),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json", json.dumps(ROWS, indent=2).encode()),
        ("a.json", as_lines(ROWS)),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode())),
        ("a.parquet", as_parquet(ROWS)),
    ],
)
def test_same_rows_from_every_form(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert rows_of(tmp_path / name) == ROWS


@pytest.mark.parametrize("indent", [None, 2])
def test_rows_keyed_by_pubid(tmp_path: Path, indent: int | None) -> None:
    document = {"11": {"QUESTION": "q?"}, "12": {"QUESTION": "r?"}}
    (tmp_path / "a.json").write_text(json.dumps(document, indent=indent), encoding="utf-8")
    assert rows_of(tmp_path / "a.json") == [{"pubid": "11", "QUESTION": "q?"}, {"pubid": "12", "QUESTION": "r?"}]


def test_folder_in_name_order_passing_over_other_files(tmp_path: Path) -> None:
    for index, name in enumerate(("c.jsonl", "a.json", "b/x.parquet")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        content = as_parquet([ROWS[index]]) if name.endswith("parquet") else as_lines([ROWS[index]])
        (tmp_path / name).write_bytes(content)
    (tmp_path / "README.md").write_text("not rows", encoding="utf-8")
    numbered = [(row.number, row.row) for row in read_source(Dataset.huatuo, str(tmp_path), StorageConfig())]
    assert numbered == [(0, ROWS[1]), (1, ROWS[2]), (2, ROWS[0])]


def test_parquet_struct_without_a_label(tmp_path: Path) -> None:
    rows = [
        {"question": "q?", "answer": "x", "options": {"A": "x", "B": "y", "C": None}, "answer_idx": "A"},
        {"question": "r?", "answer": "z", "options": {"A": "x", "B": "y", "C": "z"}, "answer_idx": "C"},
    ]
    (tmp_path / "a.parquet").write_bytes(as_parquet(rows))
    parsed = [row.parsed for row in read_source(Dataset.medqa, str(tmp_path / "a.parquet"), StorageConfig())]
    assert [len(question["options"]) for question in parsed if not isinstance(question, Invalid)] == [2, 3]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{oops", "Expecting property name"),
        ('{"Question": "a", "Question": "b"}', "key 'Question' stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"Question": ' + "[" * 100 + "]" * 100 + "}", "nested too deeply"),
        ('{"x": ' * 500 + "1" + "}" * 500, "nested too deeply"),
        ("{" + ", ".join(f'"{number}": 1' for number in range(50_000)) + ', "7": 2}', "key '7' stands twice"),
        ('{"' + "k" * 100_000 + '": 1, "' + "k" * 100_000 + '": 1}', "stands twice"),
        ("9" * 5_000, "4300"),
    ],
)
def test_malformed_line_is_one_row(tmp_path: Path, line: str, fault: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_lines(ROWS[:1]) + line.encode() + b"\n\n" + as_lines(ROWS[1:]))
    rows = rows_of(tmp_path / "a.jsonl")
    assert [row for row in rows if not isinstance(row, Malformed)] == ROWS
    assert rows[1].text == line
    assert rows[1].fault.startswith("line 2 of a.jsonl is not JSON: ") and fault in rows[1].fault


def test_brackets_in_text_and_beside_each_other_are_not_deep(tmp_path: Path) -> None:
    row = {"Question": "[{" * 500, "Response": "x", "lists": [[]] * 500, "deep": json.loads("[" * 99 + "]" * 99)}
    (tmp_path / "a.jsonl").write_bytes(as_lines([row]))
    assert rows_of(tmp_path / "a.jsonl") == [row]


@pytest.mark.parametrize("key", [pa.int64(), pa.binary(), pa.bool_()])
def test_parquet_map_has_text_as_its_keys(tmp_path: Path, key: pa.DataType) -> None:
    keys = pa.array([0, 1]).cast(pa.string()).cast(pa.binary()) if key == pa.binary() else pa.array([0, 1]).cast(key)
    options = pa.MapArray.from_arrays([0, 2], keys, pa.array(["x", "y"]))
    table = pa.table({"question": ["q?"], "answer": ["x"], "answer_idx": ["A"], "options": options})
    rows = [{"question": "q?", "answer": "x", "options": {"A": "x", "B": "y"}, "answer_idx": "A"}]
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(as_parquet(rows))
    with pytest.raises(SourceError, match="options: label"):
        list(read_source(Dataset.medqa, str(tmp_path / "a.parquet"), StorageConfig()))
    assert [type(label) for label in rows_of(tmp_path / "a.parquet")[0]["options"]] == [str, str]


def parquet_of(**columns: pa.Array) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


TWICE = pa.array([[("A", "x"), ("A", "y")]], pa.map_(pa.string(), pa.string()))
SAME_NAMES = pa.StructArray.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["A", "A"])

FAULTS: list[tuple[str, bytes, str]] = [
    ("a.jsonl", b"", "the file has no rows"),
    ("a.jsonl", b"\n \n", "the file has no rows"),
    ("a.json", b"", "the file has no rows"),
    ("a.json", b"[]", "the file has no rows"),
    ("a.json", b"{}", "no row fits the dataset huatuo"),
    ("a.parquet", as_parquet(ROWS)[:-20], "the file is not readable Parquet"),
    ("a.parquet", b"", "the file has no rows"),
    ("a.parquet", as_parquet([{"Question": "a", "Response": "b"}])[:0] + b"PAR1", "the file is not readable Parquet"),
    ("a.parquet", parquet_of(options=TWICE), "the file is not readable Parquet"),
    ("a.parquet", parquet_of(options=SAME_NAMES), "the file is not readable Parquet"),
    ("a.parquet", parquet_of(time=pa.array([2**62], pa.timestamp("us"))), "the file is not readable Parquet"),
    ("a.jsonl.gz", gzip.compress(as_lines(ROWS))[:-9], "the gzip file is cut off"),
    ("a.jsonl.gz", as_lines(ROWS), "the file is not readable gzip"),
    ("a.jsonl.gz", gzip.compress(as_lines(ROWS))[:-8] + b"\x00" * 8, "the file is not readable gzip"),
    ("a.jsonl", as_lines(ROWS) + b'{"Question": "\xff"}', "not UTF-8: byte 0xff at byte 14 of line 4"),
    ("a.json", b'[{"Question":\n"\xe9t\xe9"}]', "not UTF-8: byte 0xe9 at byte 1 of line 2"),
    ("a.json", json.dumps(ROWS).encode()[:-5], "the file is not JSON"),
    ("a.json", b'"text"', "neither an array nor an object of rows"),
    ("a.csv", b"Question,Response\n", "of no known kind"),
    ("a.jsonl", b"[1]\n[2]\n", "no row fits the dataset huatuo; the first one's fault is row: [1]"),
    ("a.jsonl", as_lines([{"Question": "q?", "Response": 5}]), "the first one's fault is Response: 5"),
]


@pytest.mark.parametrize(("name", "content", "what"), FAULTS, ids=range(len(FAULTS)))
def test_faulty_file(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        list(read_source(Dataset.huatuo, str(tmp_path / name), StorageConfig()))
    assert what in caught.value.what
    assert name in caught.value.where
    assert caught.value.remedy


def test_missing_file_and_folder_without_files(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path, tmp_path / "none" / "x.json"):
        with pytest.raises(SourceError, match="no such file"):
            list_files(str(path), StorageConfig())
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(SourceError, match="holds no file of a known kind"):
        list_files(str(tmp_path), StorageConfig())
    with pytest.raises(SourceError, match="the path is empty"):
        list_files("", StorageConfig())


def test_file_of_another_dataset_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_lines(ROWS))
    with pytest.raises(SourceError) as caught:
        list(read_source(Dataset.medqa, str(tmp_path / "a.jsonl"), StorageConfig()))
    assert "the first one's fault is options: missing" in caught.value.what
    assert caught.value.remedy == "it looks like huatuo: list it as questions.sources.huatuo"


def test_cop_that_counts_from_1_is_refused(tmp_path: Path) -> None:
    row = {"question": "q?", "opa": "a", "opb": "b", "opc": "c", "opd": "d"}
    (tmp_path / "a.json").write_bytes(as_lines([{**row, "cop": cop} for cop in (1, 2, 3, 4)]))
    with pytest.raises(SourceError, match="cop counts from 1"):
        list(read_source(Dataset.medmcqa, str(tmp_path / "a.json"), StorageConfig()))
