"""The graph at PrimeKG's published size, each part beside a baseline in the same run: one table of ratios.

    python -m benchmarks.graph [SCALE] [JAR]

SCALE is the fraction of the size (default 1); JAR holds GraphFrames' classes and adds the rows of Spark.

    csv → edges      the parse and its tables, beside pyarrow reading the same columns as text
    local, spark     the whole build, its parse and its expansion, the latter beside the same numpy kernel called in two
                     bare processes that keep nothing
    messages         the neighborhoods of some seeds by GraphFrames' messages, beside those by broadcast
    lookup           a pair's shortest paths, beside networkx and beside a plain bidirectional search on the adjacency

Memory is the peak of all processes of a step together, in proportional set size, so that what they share counts once.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import psutil
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from benchmarks.background import in_background
from benchmarks.primekg_like import write_kg
from medreason_dist.config import Config, Expand, GraphConfig, Lookup, load_config
from medreason_dist.graph import local
from medreason_dist.graph.adjacency import Adjacency, read_adjacency
from medreason_dist.graph.khop import khop
from medreason_dist.graph.neighborhoods import build_neighborhoods
from medreason_dist.graph.source import COLUMNS, open_source
from medreason_dist.graph.store import GraphStore
from medreason_dist.reasoning.paths import find_paths
from medreason_dist.storage import Folder

PAIRS = 2000
HUB_PAIRS = 500
NETWORKX_PAIRS = 6
RADIUS = 2
CANDIDATES = 50
SEEDS = (10, 1_000, 10_000)


def main(scale: float, jar: str | None) -> None:
    """Measures everything and prints the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        csv = folder / "kg.csv"
        counts = write_kg(csv, scale)
        print(
            f"{sum(counts.nodes.values()):,} nodes, {sum(counts.rows.values()):,} rows, {csv.stat().st_size:,} bytes of csv"
        )
        head("step", "seconds", "baseline", "ratio", "peak MB", "")
        source = [f"graph.source={csv}"]
        measure_parse("local", parse, load_config(Config, None, source))
        measure_build("local", csv, folder / "local", ["neighborhoods.engine=local", "neighborhoods.processes=2"])
        if jar:
            measure_parse("spark", parse_by_spark, load_config(Config, None, [*source, *spark_keys(jar)]))
            measure_build("broadcast", csv, folder / "broadcast", ["neighborhoods.engine=spark", *spark_keys(jar)])
            measure_messages(folder / "local", spark_keys(jar))
        measure_lookups(folder / "local")


def spark_keys(jar: str) -> list[str]:
    """Returns the config keys of Spark on two cores."""
    conf = {"driver.memory": "1g", "ui.enabled": "false", "ui.showConsoleProgress": "false", "log.level": "ERROR"}
    return [
        "spark.master=local[2]",
        f"spark.graphframes_jar={jar}",
        *(f"spark.conf.spark.{k}={v}" for k, v in conf.items()),
    ]


def head(*titles: str) -> None:
    """Prints a line of the table."""
    print(f"{titles[0]:<34}" + "".join(f"{title:>12}" for title in titles[1:5]) + f"  {titles[5]}", flush=True)


def measure_parse(name: str, function: Callable[[Config], None], config: Config) -> None:
    """csv → edges, beside pyarrow's own reading."""
    baseline, _ = measure(read_text, config)
    seconds, peak = measure(function, config)
    ratio = f"{seconds / baseline:.2f}"
    head(f"csv → edges: {name}", f"{seconds:.1f}", f"{baseline:.1f}", ratio, f"{peak / 1e6:,.0f}", "pyarrow.csv")


def measure_build(engine: str, csv: Path, folder: Path, pairs: Sequence[str]) -> None:
    """A build, and its expansion beside the bare kernel."""
    config = load_config(Config, None, [f"graph.source={csv}", f"graph.uri={folder}", *pairs])
    seconds, peak = measure(build_neighborhoods, config)
    graph = Folder(str(folder))
    manifest = graph.read_json("_manifest.json")
    bare = measure_bare(read_adjacency(graph, manifest["relation_sets"]))
    taken = manifest["seconds"]
    files = graph.child("neighborhoods").path.rglob("*.parquet")
    entries = sum(manifest["entries_by_hop"].values())
    bytes_an_entry = sum(file.stat().st_size for file in files) / entries
    steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in taken.items())
    head(f"{engine}: whole build", f"{seconds:.1f}", "", "", f"{peak / 1e6:,.0f}", steps)
    note = f"bare kernel; {entries:,} entries, {bytes_an_entry:.2f} bytes each"
    head(f"{engine}: expansion", f"{taken['expand']:.1f}", f"{bare:.1f}", f"{taken['expand'] / bare:.2f}", "", note)


def measure_messages(graph: Path, pairs: Sequence[str]) -> None:
    """The neighborhoods of some, many and very many seeds by messages, beside broadcast."""
    for seeds in SEEDS:
        taken = {}
        for expand in Expand:
            folder = graph.parent / f"{expand}-{seeds}"
            folder.mkdir()
            for name in ("nodes", "edges", "adjacency", "_manifest.json"):
                (folder / name).symlink_to(graph / name)
            config = load_config(Config, None, [f"graph.uri={folder}", f"neighborhoods.expand={expand}", *pairs])
            taken[expand] = measure(partial(expand_some, seeds=seeds), config)
        seconds, peak = taken[Expand.messages]
        baseline = taken[Expand.broadcast][0]
        ratio = f"{seconds / baseline:.2f}"
        head(
            f"messages: {seeds:,} seeds", f"{seconds:.1f}", f"{baseline:.1f}", ratio, f"{peak / 1e6:,.0f}", "broadcast"
        )


def expand_some(config: Config, seeds: int) -> None:
    """Writes the neighborhoods of some random nodes."""
    from medreason_dist.graph.spark import open_engine

    folder = Folder(config.graph.uri)
    adjacency = read_adjacency(folder, folder.read_json("_manifest.json")["relation_sets"])
    chosen = np.random.default_rng(0).choice(len(adjacency.node_index), seeds, replace=False)
    with open_engine(config) as engine:
        engine.expand(config, adjacency, np.sort(chosen), folder)


def measure_bare(adjacency: Adjacency) -> float:
    """Returns the seconds of the kernel on all seeds in two processes."""
    context = multiprocessing.get_context("fork")
    halves = [np.arange(start, len(adjacency.node_index), 2) for start in (0, 1)]
    processes = [context.Process(target=run_kernel, args=(adjacency, half)) for half in halves]
    started = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return time.perf_counter() - started


def run_kernel(adjacency: Adjacency, seeds: NDArray[np.intp]) -> None:
    """Calls the kernel for some hundred seeds at a time."""
    for start in range(0, len(seeds), 512):
        khop(adjacency.indptr, adjacency.indices, seeds[start : start + 512], RADIUS)


def measure_lookups(folder: Path) -> None:
    """Lookups of random pairs and of pairs of hubs, by both ways, and their baselines."""
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    store = GraphStore.open(GraphConfig(uri=str(folder)))
    print(f"the store opens in {time.perf_counter() - started:.2f} s")
    nodes = store.node_index
    random_pairs = [(int(s), int(t)) for s, t in rng.choice(nodes, (PAIRS, 2)) if s != t]
    degrees = np.array([store.degree(int(node)) for node in nodes])
    hubs = nodes[np.argsort(degrees)[-100:]]
    hub_pairs = [(int(s), int(t)) for s, t in rng.choice(hubs, (HUB_PAIRS, 2)) if s != t]
    baselines = {
        "bidirectional search": time_pairs(partial(search, store), random_pairs),
        "networkx": time_pairs(partial(first_paths, read_graph(folder)), random_pairs[:NETWORKX_PAIRS]),
    }
    head("lookup", "median ms", "baseline ms", "ratio", "p99 ms", "")
    for lookup in Lookup:
        store = GraphStore.open(GraphConfig(uri=str(folder), lookup=lookup))
        find = partial(find_paths, store, limit=CANDIDATES)
        # Buckets are read whole from disk: a hundred pairs tell enough.
        count = PAIRS if lookup is Lookup.adjacency else 100
        taken = time_pairs(find, random_pairs[:count])
        for name, baseline in baselines.items():
            median, middle, p99 = np.median(taken) * 1e3, np.median(baseline) * 1e3, np.quantile(taken, 0.99) * 1e3
            ratio = f"{median / middle:.2g}"
            head(f"{lookup}: random pairs", f"{median:.2f}", f"{middle:.2f}", ratio, f"{p99:.1f}", name)
        taken = time_pairs(find, hub_pairs[:count])
        median, p99 = np.median(taken) * 1e3, np.quantile(taken, 0.99) * 1e3
        head(f"{lookup}: pairs of hubs", f"{median:.2f}", "", "", f"{p99:.1f}", "")


def search(store: GraphStore, source: int, target: int) -> bool:
    """A plain bidirectional breadth-first search on the adjacency: grows the smaller side until the two meet."""
    sides = [{source}, {target}]
    frontiers = [[source], [target]]
    for _ in range(2 * RADIUS):
        side = int(len(frontiers[1]) < len(frontiers[0]))
        grown = np.unique(np.concatenate([store.hop(node, 1) for node in frontiers[side]])).tolist()
        frontiers[side] = [node for node in grown if node not in sides[side]]
        sides[side].update(frontiers[side])
        if not sides[1 - side].isdisjoint(frontiers[side]):
            return True
        if not frontiers[side]:
            return False
    return False


def read_graph(folder: Path) -> Any:
    """Returns the edges as a networkx graph."""
    edges = Folder(str(folder)).read_table("edges/part-0.parquet").select(["src", "dst"])
    graph = nx.Graph()
    graph.add_edges_from(zip(edges["src"].to_numpy().tolist(), edges["dst"].to_numpy().tolist(), strict=True))
    return graph


def first_paths(graph: Any, source: int, target: int) -> None:
    """Finds all shortest paths by networkx, of which it takes the first fifty."""
    list(itertools.islice(nx.all_shortest_paths(graph, source, target), CANDIDATES))


def time_pairs(call: Callable[[int, int], object], pairs: Sequence[tuple[int, int]]) -> list[float]:
    """Returns the seconds of a call for each pair."""
    taken = []
    for source, target in pairs:
        started = time.perf_counter()
        call(source, target)
        taken.append(time.perf_counter() - started)
    return taken


def parse(config: Config) -> None:
    """The parse of a build."""
    local.ENGINE.parse(config, open_source(config.graph.source))


def parse_by_spark(config: Config) -> None:
    """The same by Spark, its start included."""
    from medreason_dist.graph.spark import open_engine

    with open_engine(config) as engine:
        engine.parse(config, open_source(config.graph.source))


def read_text(config: Config) -> None:
    """What pyarrow alone needs to read the csv's columns as text."""
    strings = dict.fromkeys(COLUMNS, "string")
    options = pacsv.ConvertOptions(column_types=strings)
    with pacsv.open_csv(config.graph.source, convert_options=options) as reader:
        for _ in reader:
            pass


def measure(function: Callable[[Any], object], argument: Any) -> tuple[float, int]:
    """Returns the seconds and the peak memory in bytes of a call in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=(argument,))
    started = time.perf_counter()
    process.start()
    with watched_memory(process.pid) as peak:
        process.join()
    if process.exitcode:
        raise SystemExit(f"{function} failed")
    return time.perf_counter() - started, peak[0]


@contextlib.contextmanager
def watched_memory(pid: int | None) -> Iterator[list[int]]:
    """Yields a list whose one number grows to the peak of a process and all below it."""
    peak = [0]

    def watch(ended: threading.Event) -> None:
        while not ended.wait(0.2):
            with contextlib.suppress(psutil.Error):
                top = psutil.Process(pid)
                peak[0] = max(peak[0], sum(map(used_bytes, [top, *top.children(recursive=True)])))

    with in_background(watch):
        yield peak


def used_bytes(process: psutil.Process) -> int:
    """Returns a process's proportional set size; 0 for one that has ended."""
    with contextlib.suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0, sys.argv[2] if len(sys.argv) > 2 else None)
