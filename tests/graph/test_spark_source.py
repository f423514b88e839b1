"""kg.csv by Spark: the same graph as the embedded engine's, from the same files."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.primekg_like import write_kg
from medreason_dist.errors import SourceError
from medreason_dist.graph.primekg import KnowledgeGraph, parse_source
from medreason_dist.graph.source import open_source
from tests.graph.small import Edge, plan, row, to_csv
from tests.graph.test_primekg import INDICATION, PLAIN, spoil

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


@pytest.fixture
def small_splits(spark: SparkSession) -> Iterator[SparkSession]:
    """The session reads files in parts of 2,000 bytes."""
    spark.conf.set("spark.sql.files.maxPartitionBytes", "2000")
    spark.conf.set("spark.sql.files.openCostInBytes", "0")
    yield spark
    spark.conf.unset("spark.sql.files.maxPartitionBytes")
    spark.conf.unset("spark.sql.files.openCostInBytes")


def parse_by_both(session: SparkSession, path: Path, limit: int = 0) -> tuple[KnowledgeGraph, KnowledgeGraph]:
    from medreason_dist.graph.spark.source import parse

    config = plan(path, path.parent / "graph")
    config = replace(config, graph=replace(config.graph, wrong_rows_limit=limit))
    source = open_source(str(path))
    return parse(session, config, source), parse_source(source, limit)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("kg.csv", lambda text: text),
        ("kg.csv.gz", gzip.compress),
        ("kg.csv", lambda text: b"\xef\xbb\xbf" + text),
        ("kg.csv", lambda text: text.replace(b"\n", b"\r\n")),
        ("a folder/kg.csv", lambda text: text + b"\n\n"),
    ],
    ids=["plain", "gzip", "byte order mark", "CRLF", "empty lines, a blank in the path"],
)
def test_the_same_graph(spark: SparkSession, name: str, change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    edges: list[Edge] = [*PLAIN, PLAIN[0], (2, 1, *INDICATION), (4, 4, *INDICATION), (2, 1, "a", "b"), (9, 3, "a", "b")]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(change(to_csv(row(edge) for edge in edges)))
    ours, theirs = parse_by_both(spark, tmp_path / name)
    assert ours == theirs
    assert ours.counts["duplicates"] == ours.counts["self_loops"] == 1


def test_the_same_graph_at_a_hundredth_of_the_size(small_splits: SparkSession, tmp_path: Path) -> None:
    write_kg(tmp_path / "kg.csv", 0.01)
    small_splits.conf.set("spark.sql.files.maxPartitionBytes", "1000000")
    ours, theirs = parse_by_both(small_splits, tmp_path / "kg.csv")
    assert ours == theirs


def test_wrong_rows_are_left_out(small_splits: SparkSession, tmp_path: Path) -> None:
    content, wrong = spoil([(n, n + 1, *INDICATION) for n in range(300)])
    (tmp_path / "kg.csv").write_bytes(content)
    assert len(content) > 10 * 2000
    ours, theirs = parse_by_both(small_splits, tmp_path / "kg.csv", len(wrong))
    assert ours == theirs
    assert [wrong_row.first_line for wrong_row in ours.wrong_rows] == list(wrong)


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([row(PLAIN[0]), row(PLAIN[1], y_index="")], "leads to nowhere"),
        ([row(PLAIN[0]), row(PLAIN[1], x_name="other")], "node 2 is 'other' here and 'node 2' in line 2"),
        ([], "no edges"),
    ],
)
def test_faults_are_named(spark: SparkSession, rows: list[dict[str, str]], what: str, tmp_path: Path) -> None:
    (tmp_path / "kg.csv").write_bytes(to_csv(rows))
    with pytest.raises(SourceError, match=what):
        parse_by_both(spark, tmp_path / "kg.csv")


def test_a_gzip_by_another_name(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "kg.csv").write_bytes(gzip.compress(to_csv([row(PLAIN[0])])))
    with pytest.raises(SourceError, match="Spark tells a gzip by its name"):
        parse_by_both(spark, tmp_path / "kg.csv")
