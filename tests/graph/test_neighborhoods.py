"""The three engines against each other and networkx; what a build publishes, and when."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import HealthCheck, example, given, settings

from benchmarks.primekg_like import write_kg
from medreason_dist.config import Expand, GraphConfig, Lookup, NeighborhoodsEngine
from medreason_dist.errors import ConfigError, SourceError, StorageError
from medreason_dist.graph import local
from medreason_dist.graph.neighborhoods import build_neighborhoods
from medreason_dist.graph.store import GraphStore
from medreason_dist.storage import MANIFEST, Folder
from tests.conftest import ROOT
from tests.graph.small import Edge, all_hops, networkx_hops, plan, random_edges, read_rows, row, to_csv, to_hops

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EDGES: list[Edge] = [
    (1, 2, "indication", "indication"),
    (1, 2, "off-label use", "off-label use"),
    (2, 3, "ppi", "ppi"),
    (3, 4, "ppi", "ppi"),
    (9, 9, "ppi", "ppi"),
    (1, 2, "indication", "indication"),
]
BROADCAST: dict[str, Any] = {"engine": NeighborhoodsEngine.spark, "expand": Expand.broadcast}
MESSAGES: dict[str, Any] = {"engine": NeighborhoodsEngine.spark, "expand": Expand.messages}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "kg.csv"
    path.write_bytes(to_csv(row(edge) for edge in EDGES))
    return path


@pytest.mark.slow
@given(edges=random_edges())
def test_local_is_networkx(edges: list[Edge], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("graph")
    (folder / "kg.csv").write_bytes(to_csv(row(edge) for edge in edges))
    build = build_neighborhoods(plan(folder / "kg.csv", folder / "graph", radius=3))
    rows = read_rows(folder / "graph")
    assert to_hops(rows) == networkx_hops((edge[:2] for edge in edges), 3)
    for values in rows.to_pylist():
        assert (values["relations"] is None) == (values["hop"] > 1)
        for node, number in zip(values["nodes"], values["relations"] or [], strict=False):
            held = {d for x, y, _, d in edges if {x, y} == {values["seed"], node}}
            assert build.manifest["relation_sets"][number] == sorted(held)


@pytest.mark.spark
@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edges=random_edges())
@example(edges=[(0, 0, "ppi", "ppi")])
def test_the_engines_agree(spark: SparkSession, edges: list[Edge], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("graph")
    (folder / "kg.csv").write_bytes(to_csv(row(edge) for edge in edges))
    manifests, rows = [], []
    for name, engine in (("local", {}), ("broadcast", BROADCAST), ("messages", MESSAGES)):
        manifests.append(build_neighborhoods(plan(folder / "kg.csv", folder / name, radius=3, **engine)).manifest)
        rows.append(read_rows(folder / name))
    assert rows[0] == rows[1] == rows[2]
    for manifest in manifests[1:]:
        same = set(manifest) - {"engine", "expand", "seconds", "versions"}
        assert {key: manifest[key] for key in same} == {key: manifests[0][key] for key in same}


@pytest.mark.spark
def test_the_engines_agree_on_the_shared_fragment(spark: SparkSession, shared: Path, tmp_path: Path) -> None:
    source = shared / "data/primekg/kg.csv.gz"
    local = build_neighborhoods(plan(source, tmp_path / "local", processes=2, buckets=32))
    rows = read_rows(tmp_path / "local")
    pairs = [edge[:2] for edge in read_edges(tmp_path / "local")]
    assert to_hops(rows) == networkx_hops(pairs, 2)
    assert local.manifest["entries_by_hop"] == {"1": 61_052, "2": 1_824_676}
    components = {"count": 363, "largest": 10_641}
    assert {key: local.manifest["components"][key] for key in components} == components
    for name, engine in (("broadcast", BROADCAST), ("messages", MESSAGES)):
        build = build_neighborhoods(plan(source, tmp_path / name, buckets=32, **engine))
        assert read_rows(tmp_path / name) == rows
        for key in ("components", "degree", "entries_by_hop", "fingerprint", "nodes_by_type", "edges_by_relation"):
            assert build.manifest[key] == local.manifest[key]
        for table in ("nodes", "edges"):
            ours, theirs = (Folder(str(tmp_path / where)).child(table) for where in (name, "local"))
            assert ours.read_table("part-0.parquet") == theirs.read_table("part-0.parquet")
    places = itertools.product(("local", "broadcast", "messages"), Lookup)
    stores = [GraphStore.open(GraphConfig(uri=str(tmp_path / name), lookup=lookup)) for name, lookup in places]
    for node in stores[0].node_index[::500].tolist():
        first, *others = [[hop.tolist() for hop in all_hops(store, node)] for store in stores]
        assert all(other == first for other in others)


@pytest.mark.spark
def test_seeds_limit_what_the_engines_write(spark: SparkSession, source: Path, tmp_path: Path) -> None:
    for name, engine in (("local", {}), ("broadcast", BROADCAST), ("messages", MESSAGES)):
        build = build_neighborhoods(plan(source, tmp_path / name, seeds=[3, 1, 3], **engine))
        assert to_hops(read_rows(tmp_path / name)) == {(1, 1): [2], (1, 2): [3], (3, 1): [2, 4], (3, 2): [1]}
        assert (build.manifest["seeds"], build.manifest["entries_by_hop"]) == (2, {"1": 3, "2": 2})


def test_what_is_published(source: Path, tmp_path: Path) -> None:
    build = build_neighborhoods(plan(source, tmp_path / "graph", buckets=2))
    manifest = json.loads((tmp_path / "graph" / MANIFEST).read_text())
    assert manifest == build.manifest
    assert (build.built, build.uri) == (True, str(tmp_path / "graph"))
    assert {key: manifest[key] for key in ("rows_read", "self_loops", "duplicates", "edges", "nodes", "pairs")} == {
        "rows_read": 6,
        "self_loops": 1,
        "duplicates": 1,
        "edges": 8,
        "nodes": 5,
        "pairs": 3,
    }
    assert manifest["nodes_by_type"] == {"drug": 5}
    assert manifest["edges_by_relation"] == {"indication": 2, "off-label use": 2, "ppi": 4}
    assert manifest["relation_sets"] == [["indication", "off-label use"], ["ppi"]]
    assert manifest["degree"] == {"max": 2, "mean": 1.2}
    assert {"medreason_dist", "python", "numpy", "pyarrow"} <= set(manifest["versions"])
    files = sorted(path.relative_to(tmp_path / "graph").as_posix() for path in (tmp_path / "graph").rglob("*.parquet"))
    assert sorted(path.name for path in (tmp_path / "graph" / "adjacency").iterdir()) == [
        f"{name}.npy" for name in ("degrees", "indices", "indptr", "node_index", "relations")
    ]
    parts = ["edges", "neighborhoods/bucket=0", "neighborhoods/bucket=1", "nodes"]
    assert files == [f"{part}/part-0.parquet" for part in parts]


def test_building_again_does_nothing(source: Path, tmp_path: Path) -> None:
    first = build_neighborhoods(plan(source, tmp_path / "graph"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "graph").rglob("*")}
    again = build_neighborhoods(plan(source, tmp_path / "graph"))
    assert (again.built, again.manifest) == (False, first.manifest)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "graph").rglob("*")} == before


@pytest.mark.parametrize("changes", [{"radius": 1}, {"buckets": 3}, {"seeds": [1]}])
def test_other_parameters_replace_the_graph(changes: dict[str, Any], source: Path, tmp_path: Path) -> None:
    first = build_neighborhoods(plan(source, tmp_path / "graph"))
    again = build_neighborhoods(plan(source, tmp_path / "graph", **changes))
    fresh = build_neighborhoods(plan(source, tmp_path / "fresh", **changes))
    assert again.built
    assert again.manifest["fingerprint"] == fresh.manifest["fingerprint"] != first.manifest["fingerprint"]
    assert read_rows(tmp_path / "graph") == read_rows(tmp_path / "fresh")
    left = [len(list((tmp_path / name / "neighborhoods").rglob("*.parquet"))) for name in ("graph", "fresh")]
    assert left[0] == left[1]


def test_a_build_that_breaks_off_leaves_no_manifest(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_neighborhoods(plan(source, tmp_path / "graph"))

    def break_off(*_: object) -> NoReturn:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(local, "ENGINE", local.ENGINE._replace(expand=break_off))
        build_neighborhoods(plan(source, tmp_path / "graph", radius=1))
    assert not (tmp_path / "graph" / MANIFEST).exists()
    assert build_neighborhoods(plan(source, tmp_path / "graph", radius=1)).built


def test_two_builds_on_one_folder_do_not_mix(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expand, refused = local.expand, []

    def expand_beside_another(*arguments: Any) -> dict[int, int]:
        with pytest.raises(StorageError, match="is at work on this folder") as caught:
            build_neighborhoods(plan(source, tmp_path / "graph", radius=1))
        refused.append(caught.value)
        return expand(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(local, "ENGINE", local.ENGINE._replace(expand=expand_beside_another))
        patch.setattr("medreason_dist.storage.lease.BEAT_S", 0.2)
        assert build_neighborhoods(plan(source, tmp_path / "graph")).built
    assert len(refused) == 1
    build_neighborhoods(plan(source, tmp_path / "fresh"))
    assert read_rows(tmp_path / "graph") == read_rows(tmp_path / "fresh")


@pytest.mark.slow
def test_a_killed_build_leaves_no_manifest_and_the_next_completes(tmp_path: Path) -> None:
    write_kg(tmp_path / "kg.csv", 0.02)
    arguments = [f"graph.source={tmp_path}/kg.csv", f"graph.uri={tmp_path}/graph", "neighborhoods.processes=1"]
    command = [sys.executable, "jobs/build_neighborhoods.py", "neighborhoods.engine=local", *arguments]
    build = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    while not list((tmp_path / "graph").glob("neighborhoods/bucket=*/*.parquet")):
        assert build.poll() is None
        time.sleep(0.01)
    os.killpg(build.pid, signal.SIGKILL)
    build.wait()
    assert not (tmp_path / "graph" / MANIFEST).exists()
    assert run_job(*arguments).stdout.startswith("built: ")
    build_neighborhoods(plan(tmp_path / "kg.csv", tmp_path / "fresh", buckets=32))
    assert read_rows(tmp_path / "graph") == read_rows(tmp_path / "fresh")
    assert not list((tmp_path / "graph").glob("_build*"))


def test_a_fault_that_is_known_beforehand_leaves_the_old_graph(source: Path, tmp_path: Path) -> None:
    old = build_neighborhoods(plan(source, tmp_path / "graph"))
    with pytest.raises(ConfigError, match=r"2 of neighborhoods\.seeds are no nodes of the graph: 5, 77"):
        build_neighborhoods(plan(source, tmp_path / "graph", seeds=[1, 77, 5]))
    with pytest.raises(
        ConfigError, match=r"radius 1 would hold about 6\.0e\+00 entries[\s\S]*lower neighborhoods\.radius"
    ):
        build_neighborhoods(plan(source, tmp_path / "graph", radius=1, limit_bytes=1))
    source.write_bytes(to_csv([row(EDGES[0], y_name="")]))
    with pytest.raises(SourceError):
        build_neighborhoods(plan(source, tmp_path / "graph"))
    assert json.loads((tmp_path / "graph" / MANIFEST).read_text()) == old.manifest


@pytest.mark.spark
def test_an_adjacency_that_is_too_large_to_broadcast(spark: SparkSession, source: Path, tmp_path: Path) -> None:
    old = build_neighborhoods(plan(source, tmp_path / "graph"))
    with pytest.raises(ConfigError, match="broadcast may not send"):
        build_neighborhoods(plan(source, tmp_path / "graph", radius=1, broadcast_limit_bytes=10, **BROADCAST))
    assert json.loads((tmp_path / "graph" / MANIFEST).read_text()) == old.manifest


def test_a_manifest_that_is_no_json_is_built_anew(source: Path, tmp_path: Path) -> None:
    build_neighborhoods(plan(source, tmp_path / "graph"))
    (tmp_path / "graph" / MANIFEST).write_text("{")
    assert build_neighborhoods(plan(source, tmp_path / "graph")).built


def run_job(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "jobs/build_neighborhoods.py", "neighborhoods.engine=local", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.slow
def test_the_job_builds_then_says_that_it_is_built(source: Path, tmp_path: Path) -> None:
    arguments = [f"graph.source={source}", f"graph.uri={tmp_path}/graph", "neighborhoods.processes=2"]
    first, again = run_job(*arguments), run_job(*arguments)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert first.stdout == f"built: {tmp_path}/graph\n5 nodes, 8 edges, entries by hop {{'1': 6, '2': 4}}\n"
    assert again.stdout.startswith(f"already built, nothing to do: {tmp_path}/graph\n")


@pytest.mark.slow
def test_the_job_ends_with_2_and_one_message(source: Path, tmp_path: Path) -> None:
    source.write_bytes(to_csv([row(EDGES[0]), row(EDGES[2], y_index="")]))
    done = run_job(f"graph.source={source}", f"graph.uri={tmp_path}/graph")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: the edge leads to nowhere: the value is empty\n"
        f"  where: {source}, line 3, column y_index\n"
        "  next:  name the node, or drop the line; or set graph.wrong_rows_limit=1 to build without it\n"
    )
    assert not (tmp_path / "graph").exists()


def read_edges(graph: Path) -> list[tuple[int, int]]:
    edges = Folder(str(graph)).read_table("edges/part-0.parquet")
    return list(zip(edges["src"].to_pylist(), edges["dst"].to_pylist(), strict=True))
