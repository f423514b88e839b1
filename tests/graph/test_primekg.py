"""kg.csv: the traps of the real file, and every way in which a file can be at fault."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given

from benchmarks.s3_server import S3Server
from medreason_dist.errors import SourceError
from medreason_dist.graph import primekg
from medreason_dist.graph.primekg import KnowledgeGraph, parse_source
from medreason_dist.graph.source import COLUMNS, open_source
from medreason_dist.graph.wrong_rows import find_wrong_rows, to_table
from medreason_dist.schemas import EDGES, NODES, WRONG_ROWS
from tests.graph.small import Edge, random_edges, row, to_csv

INDICATION = ("indication", "indication")
PLAIN: list[Edge] = [(1, 2, *INDICATION), (2, 3, *INDICATION), (3, 4, *INDICATION)]


def write(content: bytes, folder: Path, name: str = "kg.csv") -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def parse(content: bytes, folder: Path, name: str = "kg.csv") -> KnowledgeGraph:
    return parse_source(open_source(write(content, folder, name)))


def fault(content: bytes, folder: Path, name: str = "kg.csv") -> SourceError:
    with pytest.raises(SourceError) as caught:
        parse(content, folder, name)
    return caught.value


@pytest.mark.slow
@given(edges=random_edges())
def test_symmetrised_sorted_without_loops_and_duplicates(
    edges: list[Edge], tmp_path_factory: pytest.TempPathFactory
) -> None:
    kg = parse(to_csv(row(edge) for edge in edges), tmp_path_factory.mktemp("kg"))
    proper = [edge for edge in edges if edge[0] != edge[1]]
    wanted = {*proper, *((y, x, r, d) for x, y, r, d in proper)}
    assert [tuple(edge.values()) for edge in kg.edges.to_pylist()] == sorted(wanted)
    assert (kg.nodes.schema, kg.edges.schema) == (NODES, EDGES)
    assert kg.nodes["node_index"].to_pylist() == sorted({end for edge in edges for end in edge[:2]})
    neighbors: dict[int, set[int]] = {}
    for x, y, *_ in wanted:
        neighbors.setdefault(x, set()).add(y)
    degrees = zip(kg.nodes["node_index"].to_pylist(), kg.nodes["degree"].to_pylist(), strict=True)
    assert all(degree == len(neighbors.get(node, ())) for node, degree in degrees)
    counts = kg.counts
    assert counts["rows_read"] == len(edges)
    assert counts["self_loops"] == len(edges) - len(proper)
    assert counts["duplicates"] == len(proper) - len(set(proper))
    assert counts["edges"] == len(wanted) == len(set(proper)) + counts["reversed_added"]


def test_the_traps_of_names_and_ids(tmp_path: Path) -> None:
    names = {
        1: ('2,5-dimethyl "DOM", (R)/(S)', "DB1", "drug"),
        2: ("Sjögren’s β-cell 病", "5011_5535_99", "disease"),
        3: ("insulin", "DB30", "drug"),
        4: ("insulin", "3630", "gene/protein"),
        5: ("NA", "", "gene/protein"),
    }

    def line(x: int, y: int) -> dict[str, str]:
        ends = (("x", x), ("y", y))
        changes = {f"{e}_{part}": v for e, n in ends for part, v in zip(("name", "id", "type"), names[n], strict=True)}
        return row((x, y, *INDICATION), **changes)

    kg = parse(to_csv([line(1, 2), line(3, 4), line(2, 5)]), tmp_path)
    found = {n["node_index"]: (n["node_name"], n["node_id"], n["node_type"]) for n in kg.nodes.to_pylist()}
    assert found == names


@pytest.mark.parametrize(
    "change",
    [
        gzip.compress,
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda t: t + b"\n\n",
    ],
    ids=["gzip", "byte order mark", "CRLF", "empty lines"],
)
def test_the_same_graph_in_other_clothes(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    plain = to_csv(row(edge) for edge in PLAIN)
    assert parse(change(plain), tmp_path) == parse(plain, tmp_path)


def test_blocks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = to_csv(row((n, (n * 7) % 200, *INDICATION)) for n in range(200))
    whole = parse(content, tmp_path)
    monkeypatch.setattr(primekg, "BLOCK_BYTES", 1000)
    assert parse(content, tmp_path) == whole


def test_a_source_that_only_some_rows_give_is_kept(tmp_path: Path) -> None:
    kg = parse(to_csv([row(PLAIN[0], x_source=""), row(PLAIN[0])]), tmp_path)
    assert kg.nodes["node_source"].to_pylist() == ["S", "S"]


@pytest.mark.parametrize(
    ("changes", "what", "where"),
    [
        ({"y_index": ""}, "leads to nowhere", "line 3, column y_index"),
        ({"y_name": ""}, "leads to nowhere", "line 3, column y_name"),
        ({"x_type": ""}, "leads to nowhere", "line 3, column x_type"),
        ({"x_index": "12.0"}, "'12.0' is not a node index", "line 3, column x_index"),
        ({"x_index": "twelve"}, "'twelve' is not a node index", "line 3, column x_index"),
        ({"x_index": "-1"}, "'-1' is not a node index", "line 3, column x_index"),
        ({"x_index": "2147483648"}, "'2147483648' is not a node index", "line 3, column x_index"),
        ({"x_type": "Drug"}, "'Drug' is not a node type", "line 3, column x_type"),
        ({"x_name": "other"}, "node 2 is 'other' here and 'node 2' in line 2", "line 3, column x_name"),
        ({"x_type": "disease"}, "node 2 is 'disease' here and 'drug' in line 2", "line 3, column x_type"),
        ({"relation": ""}, "no relation", "line 3, column relation"),
        ({"display_relation": ""}, "no relation", "line 3, column display_relation"),
        ({"y_source": "a\nb"}, "holds a line break", "line 3, column y_source"),
    ],
)
def test_a_value_at_fault_is_named(changes: dict[str, str], what: str, where: str, tmp_path: Path) -> None:
    error = fault(to_csv([row(PLAIN[0]), row(PLAIN[1], **changes), row(PLAIN[2])]), tmp_path)
    assert what in error.what
    assert error.where == f"{tmp_path}/kg.csv, {where}"
    assert error.remedy


WRONG: list[dict[str, str]] = [
    {"y_index": ""},
    {"x_index": "-1"},
    {"x_type": "Drug"},
    {"y_name": "other"},
    {"y_source": "a\nb"},
    {"relation": ""},
]


def spoil(edges: list[Edge]) -> tuple[bytes, dict[int, str]]:
    """A csv in which a wrong row follows every tenth edge; the lines of those rows and the columns at fault."""
    rows, wrong, line = [], dict[int, str](), 2
    for number, edge in enumerate(edges):
        rows.append(row(edge))
        line += 1
        if number % 10 == 0:
            changes = WRONG[number // 10 % len(WRONG)]
            rows.append(row(edge, **changes))
            wrong[line] = next(iter(changes))
            line += 1 + next(iter(changes.values())).count("\n")
    return to_csv(rows), wrong


def test_wrong_rows_are_left_out_and_told(tmp_path: Path) -> None:
    edges: list[Edge] = [(n, n + 1, *INDICATION) for n in range(100)]
    content, wrong = spoil(edges)
    kg = parse_source(open_source(write(content, tmp_path)), len(wrong))
    sound = parse(to_csv(row(edge) for edge in edges), tmp_path, "sound.csv")
    assert (kg.nodes, kg.edges) == (sound.nodes, sound.edges)
    assert kg.counts == sound.counts | {"rows_read": 100 + len(wrong), "wrong_rows": len(wrong)}
    assert {row.first_line: row.column for row in kg.wrong_rows} == wrong
    table = to_table(kg.wrong_rows)
    assert table.schema == WRONG_ROWS
    assert table["line"].to_pylist() == list(wrong)
    assert table["row"][0].as_py() == "indication,indication,0,D0,drug,node 0,S,,D1,drug,node 1,S"


def test_more_wrong_rows_than_the_limit(tmp_path: Path) -> None:
    content, wrong = spoil([(n, n + 1, *INDICATION) for n in range(140)])
    with pytest.raises(SourceError) as caught:
        parse_source(open_source(write(content, tmp_path)), len(wrong) - 1)
    lines = str(caught.value).splitlines()
    assert lines[0] == "14 rows are wrong, graph.wrong_rows_limit allows 13"
    assert lines[1].strip() == "line 3, column y_index: the edge leads to nowhere: the value is empty"
    assert [int(line.split()[1].strip(",")) for line in lines[1:11]] == list(wrong)[:10]
    assert lines[11].strip() == "and 4 more"
    assert lines[12] == f"  where: {tmp_path}/kg.csv"


def test_a_row_that_is_wrong_says_nothing_of_its_nodes(tmp_path: Path) -> None:
    rows = [row(PLAIN[0], x_name="of a wrong row", y_index=""), *(row(edge) for edge in PLAIN)]
    assert [wrong.first_line for wrong in find_wrong_rows(open_source(write(to_csv(rows), tmp_path)), 1)] == [2]


def test_no_sound_row_is_left(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        parse_source(open_source(write(to_csv([row(PLAIN[0], y_index="")]), tmp_path)), 5)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(column: str, tmp_path: Path) -> None:
    error = fault(to_csv([row(PLAIN[0])], [name for name in COLUMNS if name != column]), tmp_path)
    assert f"'{column}' is missing" in error.what


def test_a_line_of_another_length(tmp_path: Path) -> None:
    content = to_csv([row(PLAIN[0])]) + b"a,b,c\n"
    error = fault(content, tmp_path)
    assert "3 columns, the header has 12" in error.what
    assert error.where.endswith("line 3")


def test_invalid_utf8(tmp_path: Path) -> None:
    error = fault(to_csv(row(e) for e in PLAIN).replace(b"node 3", b"node \xff3", 1), tmp_path)
    assert r"'node \xff3' is not valid UTF-8" in error.what
    assert error.where.endswith("line 3, column y_name")


def test_a_quote_that_is_not_closed(tmp_path: Path) -> None:
    error = fault(to_csv(row(e) for e in PLAIN).replace(b",S\n", b',"S\n', 1), tmp_path)
    assert "line 2" in error.where
    assert "line break" in error.what


@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_a_gzip_that_is_cut_off(keep: float, tmp_path: Path) -> None:
    whole = gzip.compress(to_csv(row((n, n + 1, *INDICATION)) for n in range(5000)))
    error = fault(whole[: int(len(whole) * keep)], tmp_path, "kg.csv.gz")
    assert "cut off or damaged" in error.what
    assert "after line" in error.where


def test_a_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(to_csv(row((n, n + 1, *INDICATION)) for n in range(5000)))
    error = fault(whole[:200] + bytes(40) + whole[240:], tmp_path, "kg.csv.gz")
    assert "gzip" in error.what or "line" in error.where


@pytest.mark.parametrize(
    ("content", "what"), [(b"", "is empty"), (to_csv([]), "no edges"), (gzip.compress(b""), "is missing")]
)
def test_nothing_to_read(content: bytes, what: str, tmp_path: Path) -> None:
    assert what in fault(content, tmp_path).what


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for uri, what in ((tmp_path / "none.csv", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(SourceError, match=what):
            open_source(str(uri))


@pytest.mark.s3
def test_from_s3(s3: S3Server, tmp_path: Path) -> None:
    from medreason_dist.storage import Folder

    content, bucket = to_csv(row(edge) for edge in PLAIN), s3.new_bucket()
    Folder(bucket, s3.storage).write("in/kg.csv", content)
    source = open_source(f"{bucket}/in/kg.csv", s3.storage)
    assert parse_source(source) == parse(content, tmp_path)
    with pytest.raises(SourceError, match="does not exist"):
        open_source(f"{bucket}/in/none.csv", s3.storage)


def test_the_shared_fragment(shared: Path) -> None:
    kg = parse_source(open_source(str(shared / "data/primekg/kg.csv.gz")))
    found = {"rows_read": 61092, "reversed_added": 0, "edges": 61092, "nodes": 11605}
    assert kg.counts == found | dict.fromkeys(("wrong_rows", "self_loops", "duplicates"), 0)
