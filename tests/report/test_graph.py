"""The graph's report: its figures against networkx, and what the page says of them."""

from __future__ import annotations

import csv
import gzip
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import networkx as nx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medreason_dist.errors import GraphError
from medreason_dist.graph.neighborhoods import build_neighborhoods
from medreason_dist.report.graph import GraphFigures, Hub, read_figures, render_report
from medreason_dist.report.html import format_percent
from medreason_dist.schemas import NodeType
from medreason_dist.storage import MANIFEST, Folder
from tests.conftest import ROOT
from tests.graph.small import Edge, plan, random_edges, row, to_csv

TYPES = ("drug", "disease", "gene/protein")
HOSTILE = "<script>alert(1)</script>"
NAMES = {0: HOSTILE}
HOSTILE_RELATION = "</svg><img src=x onerror=alert(2)>"

# 0 is a hub of eight, 20 to 21 a component of its own, 30 has no neighbors.
EDGES: list[Edge] = [
    *((0, node, "drug_protein", "target") for node in range(1, 9)),
    (0, 1, "drug_disease", "indication"),
    (8, 9, "ppi", "ppi"),
    (9, 10, "ppi", "ppi"),
    (20, 21, HOSTILE_RELATION, "x"),
    (30, 30, "ppi", "ppi"),
]


def typed(edge: Edge, names: dict[int, str]) -> dict[str, str]:
    ends = (("x", edge[0]), ("y", edge[1]))
    changes = {f"{end}_type": TYPES[node % len(TYPES)] for end, node in ends}
    return row(edge, **changes, **{f"{end}_name": names[node] for end, node in ends if node in names})


def build(folder: Path, edges: Iterable[Edge] = EDGES, names: dict[int, str] = NAMES, **options: Any) -> Folder:
    (folder / "kg.csv").write_bytes(to_csv(typed(edge, names) for edge in edges))
    return Folder(build_neighborhoods(plan(folder / "kg.csv", folder / "graph", **options)).uri)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return build(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def html(published: Folder) -> str:
    return render_report(read_figures(published))


@pytest.fixture
def graph(published: Folder, tmp_path: Path) -> Folder:
    """A copy of the published graph, to change."""
    return Folder(str(shutil.copytree(published.path, tmp_path / "graph")))


@pytest.fixture
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's words and tables alone, which takes a tenth of the time."""
    for name in ("bar_chart", "distribution_chart", "quantile_chart"):
        monkeypatch.setattr(f"medreason_dist.report.graph.{name}", lambda *_, **__: "<svg></svg>")


def change_manifest(folder: Folder, **changes: Any) -> Folder:
    folder.write_json(MANIFEST, folder.read_json(MANIFEST) | changes)
    return folder


def quantiles(values: Iterable[int]) -> tuple[int, ...]:
    """By the definition: the least value that at least so many percent of all do not exceed."""
    held = list(values)
    least = [min(v for v in held if 100 * sum(w <= v for w in held) >= p * len(held)) for p in (10, 25, 50, 75, 90)]
    return (len(held), *least, max(held))


def within(graph: Any, radius: int) -> dict[int, int]:
    return {node: len(nx.single_source_shortest_path_length(graph, node, cutoff=radius)) - 1 for node in graph}


def by_type(values: dict[int, int]) -> dict[str, tuple[int, ...]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for node, value in values.items():
        groups[TYPES[node % len(TYPES)]].append(value)
    return {name: quantiles(held) for name, held in groups.items()}


@settings(max_examples=8)
@given(edges=random_edges(), some=st.data())
def test_the_figures_are_those_of_networkx(
    edges: list[Edge], some: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nodes = sorted({end for edge in edges for end in edge[:2]})
    seeds = some.draw(st.none() | st.lists(st.sampled_from(nodes), min_size=1))
    found = read_figures(build(tmp_path_factory.mktemp("report"), edges, {}, radius=3, seeds=seeds))
    oracle = nx.Graph()
    oracle.add_nodes_from(nodes)
    oracle.add_edges_from(edge[:2] for edge in edges if edge[0] != edge[1])
    degrees = dict(oracle.degree())
    assert (found.nodes, found.pairs) == (len(nodes), oracle.number_of_edges())
    assert found.nodes_by_type == Counter(TYPES[node % 3] for node in nodes)
    assert found.nodes_by_degree == Counter(degrees.values())
    assert found.degree == (quantiles(degrees.values()), by_type(degrees))
    chosen = set(nodes if seeds is None else seeds)
    if len(chosen) < len(nodes):
        chosen = {node for node in chosen if degrees[node]}
    assert found.seeds_counted == len(chosen)
    for radius, spread in enumerate(found.neighborhoods, start=1):
        sizes = {node: size for node, size in within(oracle, radius).items() if node in chosen}
        assert spread == (quantiles(sizes.values()) if sizes else None, by_type(sizes))
    greatest = sorted(nodes, key=lambda node: (-degrees[node], node))
    hubs = [Hub(f"node {n}", TYPES[n % 3], degrees[n], degrees[n] / len(nodes)) for n in greatest]
    assert found.hubs == tuple(hubs[:25])
    assert found.hubs_by_type == {
        name: tuple([hub for hub in hubs if hub.type == name][:5]) for name in {hub.type for hub in hubs}
    }
    if found.components is not None and found.components.classes is not None:
        sizes_of_components = [len(component) for component in nx.connected_components(oracle)]
        assert (
            found.components.number == len(sizes_of_components) == sum(c.components for c in found.components.classes)
        )
        assert found.components.largest == max(sizes_of_components) == found.components.classes[-1].largest
        assert sum(size_class.nodes for size_class in found.components.classes) == len(nodes)


class Page(HTMLParser):
    """What a browser would make of a page: its tables by caption, its tags with attributes, its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._caption, self._cell = "", False
        self.feed(page)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._caption = "" if tag == "caption" else self._caption
        self._cell = tag in ("td", "th") or (self._cell and tag not in ("tr", "table"))
        if tag == "tr":
            self.tables[self._caption].append([])
        elif tag in ("td", "th"):
            self.tables[self._caption][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption":
            self.tables[self._caption] = []
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.tags and self.tags[-1][0] == "caption" and self._caption not in self.tables:
            self._caption += data
        elif self._cell:
            self.tables[self._caption][-1][-1] += data

    def table(self, caption: str) -> list[list[str]]:
        """The rows of the one table whose caption begins so, without its head."""
        (found,) = (rows for name, rows in self.tables.items() if name.startswith(caption))
        return found[1:]


def read_page(folder: Folder) -> Page:
    return Page(render_report(read_figures(folder)))


def test_the_page_has_the_figures(html: str, published: Folder) -> None:
    page = Page(html)
    manifest = published.read_json(MANIFEST)
    assert "14 nodes, 11 pairs of neighbors, 24 edges counted in both directions" in page.text
    for value in (manifest["source"]["sha256"], manifest["fingerprint"], f"pyarrow {pa.__version__}"):
        assert value in page.text
    assert page.table("Nodes of each type") == [
        ["drug", "6", "42.9 %"],
        ["disease", "4", "28.6 %"],
        ["gene/protein", "4", "28.6 %"],
    ]
    assert page.table("Edges of each relation, both directions counted") == [
        ["drug_protein", "16", "66.7 %"],
        ["ppi", "4", "16.7 %"],
        [HOSTILE_RELATION, "2", "8.3 %"],
        ["drug_disease", "2", "8.3 %"],
    ]
    assert page.table("Degree by node type")[0] == ["all types", "14", "1", "2", "8"]
    assert page.table("Nodes within 1 hop of a seed")[0] == ["all types", "14", "1", "2", "8"]
    assert page.table("Nodes within 2 hops of a seed")[0] == ["all types", "14", "8", "9", "10"]
    assert page.table("The 14 nodes of the greatest degree")[:2] == [
        [HOSTILE, "drug", "8", "57.1 %"],
        ["node 8", "gene/protein", "2", "14.3 %"],
    ]
    assert [line for line in page.table("The nodes of the greatest degree of each type") if len(line) == 1] == [
        ["drug"],
        ["disease"],
        ["gene/protein"],
    ]
    assert "Left out: nodes without neighbors, 1." in page.text
    assert "all shortest paths of up to 4 hops" in page.text
    assert "Only some neighborhoods" not in page.text


def test_charts_have_captions_and_say_in_words_what_they_show(html: str) -> None:
    page = Page(html)
    counts = Counter(tag for tag, _ in page.tags)
    assert counts["svg"] == counts["figure"] == counts["figcaption"] == 6
    assert counts["table"] == counts["caption"]
    said = [attributes["aria-label"] or "" for tag, attributes in page.tags if tag == "svg"]
    assert said[1] == "Bar chart of the number of edges of 4 relations, of which drug_protein has the most."
    assert "from 13 nodes of degree 1 or more to the greatest degree, 8." in said[2]
    assert said[5].startswith("Chart of nodes within 2 hops by node type. Half of them have 8 or fewer, the greatest")
    assert all(attributes["role"] == "img" for tag, attributes in page.tags if tag == "svg")


def test_names_are_text_and_nothing_is_loaded(html: str) -> None:
    page = Page(html)
    assert not {"script", "img", "link", "iframe", "object", "image"} & {tag for tag, _ in page.tags}
    assert page.text.count(HOSTILE) == 2
    assert HOSTILE_RELATION[:27] in page.text
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("href", "src") or str(value).startswith("#"), (tag, value)
    assert set(re.findall(r"url\((.)", html)) == {"#"}
    assert re.search(r"https?://|@import", html) is None


def test_the_same_graph_gives_the_same_page(html: str, published: Folder) -> None:
    assert render_report(read_figures(published)) == html


def run_job(uri: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "jobs/report_graph.py", f"graph.uri={uri}"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.slow
def test_the_job_writes_the_page_and_says_where(html: str, graph: Folder) -> None:
    done = run_job(graph.uri)
    assert (done.returncode, done.stdout) == (0, f"written: {graph.uri}/report.html\n"), done.stderr
    # Written by another process, with another hash seed.
    assert graph.read("report.html").decode() == html


@pytest.mark.slow
def test_the_job_ends_with_2_for_an_unfinished_graph(tmp_path: Path) -> None:
    done = run_job(str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: there is no finished graph: _manifest.json is missing\n  where: ")
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("without_charts")
def test_some_seeds_only(tmp_path: Path) -> None:
    page = read_page(build(tmp_path, seeds=[0, 10, 30]))
    assert (
        "Only some neighborhoods were built: those of 3 of 14 nodes. Not counted below: those without neighbors"
        in page.text
    )
    # 0 reaches its eight and one more in two hops, 10 only two.
    assert page.table("Nodes within 2 hops of a seed") == [
        ["all types", "2", "2", "9", "9"],
        ["drug", "1", "9", "9", "9"],
        ["disease", "1", "2", "2", "2"],
    ]
    assert page.table("Degree by node type")[0][1] == "14"


@pytest.mark.usefixtures("without_charts")
def test_seeds_without_neighbors_alone(tmp_path: Path) -> None:
    page = read_page(build(tmp_path, seeds=[30]))
    assert page.text.count("No seed has neighbors.") == 2


def test_a_graph_without_edges(tmp_path: Path) -> None:
    page = read_page(build(tmp_path, [(30, 30, "ppi", "ppi")]))
    assert page.table("Edges of each relation") == []
    assert page.table("Nodes within 2 hops of a seed") == [[name, "1", "0", "0", "0"] for name in ("all types", "drug")]


BY_SIZE = {"count": 3, "largest": 11, "by_size": {"11": 1, "2": 1, "1": 1}}


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"components": None}, "Not counted: the build that wrote this graph did not count them."),
        ({"components": BY_SIZE, "engine": "spark", "expand": "messages"}, "78.6 % of all. GraphFrames counted them."),
        (
            {"components": {"count": 3, "largest": 11}, "engine": "local"},
            "The number of components of each size was not",
        ),
        ({"components": {"count": 1, "largest": 14}}, "1 component; the largest has 14 nodes, 100.0 % of all."),
        ({"engine": "spark", "expand": "messages"}, "Spark with GraphFrames, expand=messages"),
    ],
)
def test_what_the_manifest_may_or_may_not_tell(changes: dict[str, Any], expected: str, graph: Folder) -> None:
    page = read_page(change_manifest(graph, **changes))
    assert expected in page.text
    assert ("GraphFrames counted them" in page.text) == (changes.get("engine") == "spark")


@pytest.mark.usefixtures("without_charts")
def test_components_by_size(graph: Folder) -> None:
    assert read_page(change_manifest(graph, components=BY_SIZE)).table("Components by their number of nodes") == [
        ["1 to 2", "2", "3", "21.4 %"],
        ["11", "1", "11", "78.6 %"],
    ]


@pytest.mark.usefixtures("without_charts")
def test_a_manifest_of_an_older_build(graph: Folder) -> None:
    manifest = graph.read_json(MANIFEST)
    for key in ("components", "engine", "expand", "wrong_rows", "reversed_added"):
        manifest.pop(key, None)
    graph.write_json(MANIFEST, manifest)
    page = read_page(graph)
    facts = dict(page.tables["The source, and the build as its manifest describes it"])
    assert facts["Engine"] == "not recorded"
    assert "Wrong rows left out" not in facts


def test_files_as_spark_writes_them(graph: Folder) -> None:
    expected = read_figures(graph)
    assert len(graph.child("neighborhoods").names()) > 1
    for name in graph.child("neighborhoods").names():
        path = graph.child("neighborhoods").path / name
        table = pq.read_table(path, partitioning=None)
        nodes = pa.field("nodes", pa.list_(pa.field("array", pa.int32(), nullable=False)), nullable=False)
        fields = [pa.field("seed", pa.int32(), nullable=False), table.schema.field("hop"), nodes]
        table = table.cast(pa.schema([*fields, table.schema.field("relations")]))
        # The hops of one seed may be in two files, too.
        for part, half in enumerate((table.slice(0, 3), table.slice(3))):
            pq.write_table(half, path.with_name(f"part-{part}.zstd.parquet"))
        path.unlink()
    assert read_figures(graph) == expected


def drop_bucket(graph: Folder) -> None:
    graph.child("neighborhoods").delete(graph.child("neighborhoods").names()[0])


def copy_bucket(graph: Folder) -> None:
    name = graph.child("neighborhoods").names()[0]
    graph.child("neighborhoods").write(name.replace("part-0", "part-1"), graph.child("neighborhoods").read(name))


def drop_node(graph: Folder) -> None:
    nodes = graph.read_table("nodes/part-0.parquet")
    types = Counter(nodes["node_type"].to_pylist()[1:])
    graph.write_table("nodes/part-0.parquet", nodes.slice(1))
    change_manifest(graph, nodes_by_type=dict(types))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_bucket, r"the graph holds .* entries by hop, its manifest says"),
        (copy_bucket, r"the graph holds .* entries by hop, its manifest says"),
        (drop_node, r"the graph holds seeds or hops.*\n  where: .*/neighborhoods/bucket="),
        (lambda graph: change_manifest(graph, radius=1), "the graph holds seeds or hops"),
        (
            lambda graph: change_manifest(graph, nodes_by_type={"drug": 14}),
            r"nodes by type.*\n.*\n  next:  delete _mani",
        ),
        (lambda graph: graph.delete(MANIFEST), "there is no finished graph"),
        (lambda graph: change_manifest(graph, schemas={}), "other schemas"),
    ],
)
def test_a_graph_that_does_not_fit_its_manifest_is_refused(
    damage: Callable[[Folder], object], message: str, graph: Folder
) -> None:
    damage(graph)
    with pytest.raises(GraphError, match=message):
        read_figures(graph)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0 %"),
        (1.0, "100.0 %"),
        (0.1234, "12.3 %"),
        (0.006, "0.60 %"),
        (0.000086, "0.0086 %"),
        (1e-7, "< 0.001 %"),
    ],
)
def test_shares(share: float, text: str) -> None:
    assert format_percent(share) == text


@pytest.mark.slow
def test_the_shared_fragment(shared: Path, tmp_path: Path) -> None:
    source = shared / "data/primekg/kg.csv.gz"
    figures: GraphFigures = read_figures(Folder(build_neighborhoods(plan(source, tmp_path / "graph")).uri))
    neighbors: dict[int, set[int]] = defaultdict(set)
    types: dict[int, str] = {}
    with gzip.open(source, "rt", encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            x, y = int(line["x_index"]), int(line["y_index"])
            neighbors[x].add(y)
            types[x] = line["x_type"]
            types[y] = line["y_type"]
    reached = {node: set.union(held, *(neighbors[near] for near in held)) - {node} for node, held in neighbors.items()}
    for spread, sizes in zip(
        figures.neighborhoods,
        ({node: len(held) for node, held in which.items()} for which in (neighbors, reached)),
        strict=True,
    ):
        for name in NodeType:
            held = sorted(sizes[node] for node in types if types[node] == name)
            quantile = spread.by_type[name]
            place = -(-9 * len(held) // 10) - 1
            assert (quantile.size, quantile.p90, quantile.maximum) == (len(held), held[place], held[-1])
    first, second, *_ = figures.hubs
    assert (first.name, first.degree, second.name, second.degree) == ("ABCB1", 552, "CYP3A4", 503)
    assert (figures.nodes, figures.pairs, figures.edges) == (len(types), sum(map(len, neighbors.values())) // 2, 61_092)
