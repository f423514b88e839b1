"""``build_neighborhoods``: kg.csv → a published graph folder. Plan, dispatch to an engine, publish.

    nodes/ edges/                     tables as in schemas
    adjacency/                        the edges as compressed sparse rows, which readers map into memory
    neighborhoods/bucket=<n>/         the rows of the seeds for which node_index mod buckets is n
    wrong_rows/                       the rows of the csv that were left out, where there are any
    _manifest.json                    last: a folder without it is unfinished, and readers refuse it

The three engines (local; spark with broadcast or with messages) write the same rows.
"""

from __future__ import annotations

import contextlib
import json
import platform
import time
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medreason_dist import __version__
from medreason_dist.config import Config, Expand, NeighborhoodsEngine
from medreason_dist.errors import ConfigError
from medreason_dist.graph import local
from medreason_dist.graph.adjacency import Adjacency, build_adjacency, find_positions, write_adjacency
from medreason_dist.graph.engine import Engine
from medreason_dist.graph.khop import khop
from medreason_dist.graph.primekg import KnowledgeGraph
from medreason_dist.graph.source import Source, open_source
from medreason_dist.graph.wrong_rows import to_table
from medreason_dist.ids import fingerprint
from medreason_dist.schemas import EDGES, NEIGHBORHOODS, NODES, schema_fingerprint
from medreason_dist.storage import MANIFEST, Folder, hold_lease

SCHEMAS: Final = {
    name: schema_fingerprint(schema)
    for name, schema in (("nodes", NODES), ("edges", EDGES), ("neighborhoods", NEIGHBORHOODS))
}

SAMPLED_SEEDS: Final = 128
BYTES_AN_ENTRY: Final = 0.25
"""On disk: 0.23 at PrimeKG's size and radius 2 (benchmarks/graph.py)."""


class Build(NamedTuple):
    """What became of a build."""

    uri: str
    manifest: dict[str, Any]
    built: bool
    """False where the folder already held this graph, built from the same input with the same parameters."""


def build_neighborhoods(config: Config) -> Build:
    """Builds the graph folder ``graph.uri`` from ``graph.source``, or finds it built already.

    Raises :class:`SourceError` for a bad csv, :class:`ConfigError` for seeds that are no nodes, a radius whose
    neighborhoods would not fit or an engine that cannot run, :class:`StorageError` for a folder that cannot be written or
    that another build is at work on. Until all of that is known an older graph in the folder is left as it is.
    """
    folder = Folder(config.graph.uri, config.storage)
    source = open_source(config.graph.source, config.storage)
    identity = _identify(source, config)
    manifest = _read_manifest(folder)
    if manifest.get("fingerprint") == identity:
        return Build(folder.uri, manifest, built=False)
    with _open_engine(config) as engine:
        clock = _Clock()
        kg = engine.parse(config, source)
        clock.stop("parse")
        adjacency = build_adjacency(kg.nodes, kg.edges)
        seeds = _require_seeds(config, adjacency)
        _require_broadcast(config, adjacency)
        _require_size(config, adjacency, seeds)
        with hold_lease(folder, "build") as require_held:
            _unpublish(folder)
            _write_tables(folder, kg, adjacency)
            clock.stop("write")
            entries = engine.expand(config, adjacency, seeds, folder)
            clock.stop("expand")
            manifest = _describe(config, source, kg, adjacency) | engine.summarise(adjacency, folder)
            clock.stop("summarise")
            manifest |= {
                "fingerprint": identity,
                "seeds": len(seeds),
                "entries_by_hop": {str(hop): count for hop, count in sorted(entries.items())},
                "seconds": clock.seconds,
                "versions": _versions() | dict(engine.versions),
            }
            require_held()
            folder.write_json(MANIFEST, manifest)
    return Build(folder.uri, manifest, built=True)


class _Clock:
    """The seconds of each step, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = time.monotonic()

    def stop(self, step: str) -> None:
        """Ends a step and starts the next."""
        now = time.monotonic()
        self.seconds[step] = round(now - self._started, 3)
        self._started = now


def _identify(source: Source, config: Config) -> str:
    """Returns a digest of everything on which the published rows depend: not the engine, for all write the same."""
    seeds = config.neighborhoods.seeds
    parameters = {
        "source": source.sha256,
        "radius": config.neighborhoods.radius,
        "buckets": config.neighborhoods.buckets,
        "seeds": None if seeds is None else sorted(set(seeds)),
        "schemas": SCHEMAS,
    }
    return fingerprint(parameters)


def _read_manifest(folder: Folder) -> dict[str, Any]:
    try:
        manifest = json.loads(folder.read(MANIFEST))
    except (FileNotFoundError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _require_seeds(config: Config, adjacency: Adjacency) -> NDArray[np.intp]:
    if config.neighborhoods.seeds is None:
        return np.arange(len(adjacency.node_index))
    wanted = np.unique(np.array(config.neighborhoods.seeds, dtype=np.int64))
    positions, found = find_positions(adjacency.node_index, wanted)
    if not found.all():
        unknown = ", ".join(str(node) for node in wanted[~found][:5].tolist())
        what = f"{np.count_nonzero(~found)} of neighborhoods.seeds are no nodes of the graph: {unknown}"
        raise ConfigError(what, config.graph.source, "give values of the csv's x_index or y_index")
    return positions


def _require_size(config: Config, adjacency: Adjacency, seeds: NDArray[np.intp]) -> None:
    """Raises :class:`ConfigError` where, by a sample of the seeds, more than ``limit_bytes`` would be written."""
    settings = config.neighborhoods
    sample = np.random.default_rng(0).choice(seeds, min(len(seeds), SAMPLED_SEEDS), replace=False)
    reached = sum(
        int(khop(adjacency.indptr, adjacency.indices, sample[i : i + 1], settings.radius)[0].sum())
        for i in range(len(sample))
    )
    entries = reached * len(seeds) / max(len(sample), 1)
    if entries * BYTES_AN_ENTRY > settings.limit_bytes:
        raise ConfigError(
            f"neighborhoods of radius {settings.radius} would hold about {entries:.1e} entries, "
            f"{entries * BYTES_AN_ENTRY / 1024**3:,.0f} GiB on disk",
            f"neighborhoods.limit_bytes={settings.limit_bytes}",
            "lower neighborhoods.radius, name neighborhoods.seeds, or raise the limit",
        )


def _require_broadcast(config: Config, adjacency: Adjacency) -> None:
    settings = config.neighborhoods
    broadcast = settings.engine is NeighborhoodsEngine.spark and settings.expand is Expand.broadcast
    if broadcast and adjacency.size_bytes > settings.broadcast_limit_bytes:
        raise ConfigError(
            f"the adjacency has {adjacency.size_bytes:,} bytes, which neighborhoods.expand=broadcast may not send",
            f"neighborhoods.broadcast_limit_bytes={settings.broadcast_limit_bytes}",
            "raise the limit, or set neighborhoods.expand=messages",
        )


def _open_engine(config: Config) -> AbstractContextManager[Engine]:
    if config.neighborhoods.engine is NeighborhoodsEngine.local:
        return contextlib.nullcontext(local.ENGINE)
    # Only here is pyspark needed.
    from medreason_dist.graph import spark

    return spark.open_engine(config)


def _write_tables(folder: Folder, kg: KnowledgeGraph, adjacency: Adjacency) -> None:
    folder.write_table("nodes/part-0.parquet", kg.nodes)
    folder.write_table("edges/part-0.parquet", kg.edges)
    write_adjacency(folder, adjacency)
    if kg.wrong_rows:
        folder.write_table("wrong_rows/part-0.parquet", to_table(kg.wrong_rows))


def _unpublish(folder: Folder) -> None:
    folder.delete_all([MANIFEST, "report.html"])
    for name in ("nodes", "edges", "adjacency", "neighborhoods", "wrong_rows"):
        folder.child(name).delete_all(folder.child(name).names())


def _describe(config: Config, source: Source, kg: KnowledgeGraph, adjacency: Adjacency) -> dict[str, Any]:
    return {
        "source": {"uri": source.uri, "sha256": source.sha256, "size_bytes": source.content.size},
        "radius": config.neighborhoods.radius,
        "buckets": config.neighborhoods.buckets,
        **kg.counts,
        "pairs": len(adjacency.indices) // 2,
        "nodes_by_type": _count_values(kg.nodes["node_type"]),
        "edges_by_relation": _count_values(kg.edges["relation"]),
        "relation_sets": adjacency.relation_sets,
        "schemas": SCHEMAS,
        "engine": config.neighborhoods.engine.value,
        "expand": config.neighborhoods.expand.value
        if config.neighborhoods.engine is NeighborhoodsEngine.spark
        else None,
    }


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("numpy", "pyarrow")}
    return {"medreason_dist": __version__, "python": platform.python_version()} | packages


def _count_values(column: pa.ChunkedArray) -> dict[str, int]:
    counts = column.value_counts()
    return dict(sorted(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)))
