"""A published graph → its report: one HTML page of figures and charts, exact over all nodes and neighborhoods."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medreason_dist.errors import GraphError
from medreason_dist.graph.adjacency import find_positions
from medreason_dist.graph.store import BUILD, require_manifest
from medreason_dist.report.charts import Quantiles, bar_chart, distribution_chart, measure_quantiles, quantile_chart
from medreason_dist.report.html import render_page
from medreason_dist.schemas import NEIGHBORHOODS, NODES
from medreason_dist.storage import MANIFEST, Folder

PAGE: Final = "report.html"
HUBS: Final = 25
HUBS_A_TYPE: Final = 5


class Hub(NamedTuple):
    """A node with many neighbors."""

    name: str
    type: str
    degree: int
    share: float
    """``degree`` of all nodes: what one hop reaches."""


class SizeClass(NamedTuple):
    """The connected components of ``smallest`` to ``largest`` nodes, a power of ten apart; both sizes occur."""

    smallest: int
    largest: int
    components: int
    nodes: int


class Components(NamedTuple):
    """The connected components."""

    number: int
    largest: int
    """Nodes of the largest one."""
    classes: tuple[SizeClass, ...] | None
    """By size, ascending; None where the build did not record the sizes."""


class Spread(NamedTuple):
    """A number of each node, spread over the nodes of a type and over all of them."""

    overall: Quantiles | None
    """None where there are no nodes to speak of."""
    by_type: dict[str, Quantiles]


class GraphFigures(NamedTuple):
    """What the report tells of a graph. Dictionaries by type or relation begin with the most frequent."""

    source: dict[str, Any]
    """``uri sha256 size_bytes`` of the csv."""
    counts: dict[str, int]
    """Rows read, and what became of them, as far as the manifest has them."""
    engine: str | None
    expand: str | None
    radius: int
    fingerprint: str
    versions: dict[str, str]
    nodes: int
    pairs: int
    """Pairs of neighbors, each counted once."""
    edges: int
    """Counted in both directions, as ``edges_by_relation``."""
    nodes_by_type: dict[str, int]
    edges_by_relation: dict[str, int]
    nodes_by_degree: dict[int, int]
    degree: Spread
    components: Components | None
    """None where the build did not count them."""
    seeds: int
    """Nodes whose neighborhoods were built; those without neighbors have no rows, and no part in the next two."""
    seeds_counted: int
    neighborhoods: tuple[Spread, ...]
    """For each radius from 1: the nodes at most so many hops from a seed, the seed not counted."""
    hubs: tuple[Hub, ...]
    """The 25 nodes of the greatest degree; ties by ``node_index``, here and below."""
    hubs_by_type: dict[str, tuple[Hub, ...]]
    """Five of each type."""


def write_report(folder: Folder) -> str:
    """Writes the report of a published graph into its folder and returns where it lies; raises as :func:`read_figures`."""
    folder.write(PAGE, render_report(read_figures(folder)).encode())
    return f"{folder.uri}/{PAGE}"


def read_figures(folder: Folder) -> GraphFigures:
    """Returns the figures of a published graph. Reads the neighborhoods file by file; the largest has to fit in memory.

    Raises :class:`GraphError` for a folder that is missing or unfinished, or whose tables do not hold what its manifest
    says.
    """
    manifest = require_manifest(folder)
    nodes = _read_nodes(folder, manifest)
    node_index, degree = nodes["node_index"].to_numpy(), nodes["degree"].to_numpy()
    sizes, seen = _read_sizes(folder, manifest, node_index)
    # A seed without neighbors has no rows: only where all nodes are seeds it is known for one.
    counted = seen if manifest["seeds"] < manifest["nodes"] else np.ones_like(seen)
    nodes_by_type = _most_first(manifest["nodes_by_type"])
    of_type = {name: pc.equal(nodes["node_type"], name).to_numpy() for name in nodes_by_type}
    within = np.cumsum(sizes, axis=1)
    return GraphFigures(
        source=manifest["source"],
        counts={name: manifest[name] for name in _COUNTS if name in manifest},
        engine=manifest.get("engine"),
        expand=manifest.get("expand"),
        radius=manifest["radius"],
        fingerprint=manifest["fingerprint"],
        versions=manifest["versions"],
        nodes=manifest["nodes"],
        pairs=manifest["pairs"],
        edges=manifest["edges"],
        nodes_by_type=nodes_by_type,
        edges_by_relation=_most_first(manifest["edges_by_relation"]),
        nodes_by_degree=_count_each(degree),
        degree=_spread(degree, np.ones_like(seen), of_type),
        components=_classify_components(manifest.get("components")),
        seeds=manifest["seeds"],
        seeds_counted=int(counted.sum()),
        neighborhoods=tuple(_spread(within[:, hop], counted, of_type) for hop in range(manifest["radius"])),
        hubs=_find_hubs(nodes, np.arange(len(degree)), HUBS),
        hubs_by_type={name: _find_hubs(nodes, np.flatnonzero(held), HUBS_A_TYPE) for name, held in of_type.items()},
    )


def render_report(figures: GraphFigures) -> str:
    """Returns the report as an HTML page; the same figures give the same bytes."""
    first_relation = next(iter(figures.edges_by_relation), "none")
    return render_page(
        "graph.html",
        graph=figures,
        counts=[(_COUNTS[name], number) for name, number in figures.counts.items()],
        types_chart=bar_chart(
            figures.nodes_by_type, alt=f"Bar chart of the number of nodes of {len(figures.nodes_by_type)} types."
        ),
        relations_chart=bar_chart(
            figures.edges_by_relation,
            alt=f"Bar chart of the number of edges of {len(figures.edges_by_relation)} relations, "
            f"of which {first_relation} has the most.",
        ),
        degree_chart=distribution_chart(
            figures.nodes_by_degree,
            x_label="degree: distinct neighbors",
            y_label="nodes of at least this degree",
            alt="Line chart on logarithmic axes: the number of nodes of at least each degree, falling from "
            f"{figures.nodes - figures.nodes_by_degree.get(0, 0):,} nodes of degree 1 or more to the greatest degree, "
            f"{max(figures.nodes_by_degree, default=0):,}.",
        ),
        degree_by_type_chart=_spread_chart(figures.degree, "degree"),
        neighborhoods=[
            (_hops(radius), spread, _spread_chart(spread, f"nodes within {_hops(radius)}"))
            for radius, spread in enumerate(figures.neighborhoods, start=1)
        ],
        hubs_share=_share(sum(hub.degree for hub in figures.hubs), 2 * figures.pairs),
    )


_COUNTS: Final = {
    "rows_read": "Rows read",
    "wrong_rows": "Wrong rows left out",
    "self_loops": "Self loops left out",
    "duplicates": "Duplicates left out",
    "reversed_added": "Missing directions added",
}


def _read_nodes(folder: Folder, manifest: dict[str, Any]) -> pa.Table:
    """Returns the nodes in one chunk, sorted by ``node_index``."""
    child = folder.child("nodes")
    # Spark's files say not null where ours do not.
    tables = [child.read_table(name, NODES).cast(NODES) for name in child.names(".parquet")]
    nodes = pa.concat_tables([NODES.empty_table(), *tables]).sort_by("node_index").combine_chunks()
    found = pc.value_counts(nodes["node_type"])
    by_type = dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True))
    if by_type != manifest["nodes_by_type"]:
        raise _misfit(folder, "nodes", f"{by_type} nodes by type", manifest["nodes_by_type"])
    return nodes


def _read_sizes(
    folder: Folder, manifest: dict[str, Any], node_index: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Returns how many nodes are at exactly each hop, of shape (nodes, radius), and whether a node has rows at all."""
    child, radius = folder.child("neighborhoods"), manifest["radius"]
    sizes = np.zeros((len(node_index), radius), dtype=np.int64)
    for name in child.names(".parquet"):
        seed, hop, length = _read_lengths(child, name)
        position, is_node = find_positions(node_index, seed)
        if not is_node.all() or ((hop < 1) | (hop > radius)).any():
            found, expected = "seeds or hops beyond them", f"{len(node_index)} nodes and radius {radius}"
            raise _misfit(folder, f"neighborhoods/{name}", found, expected)
        # Several rows may have the same seed and hop only in a damaged folder, which the sums below tell.
        np.add.at(sizes, (position, hop - 1), length)
    entries = {str(hop): count for hop, count in enumerate(sizes.sum(axis=0).tolist(), start=1)}
    if entries != manifest["entries_by_hop"]:
        raise _misfit(folder, "neighborhoods", f"{entries} entries by hop", manifest["entries_by_hop"])
    return sizes, np.any(sizes, axis=1)


def _read_lengths(folder: Folder, name: str) -> tuple[NDArray[np.int32], NDArray[np.int8], NDArray[np.int32]]:
    """Returns seed, hop and number of nodes of each row of a file, which is let go of again."""
    table = folder.read_table(name, NEIGHBORHOODS)
    return table["seed"].to_numpy(), table["hop"].to_numpy(), pc.list_value_length(table["nodes"]).to_numpy()


def _misfit(folder: Folder, name: str, found: str, expected: object) -> GraphError:
    what = f"the graph holds {found}, its manifest says {expected}"
    return GraphError(what, f"{folder.uri}/{name}", f"delete {MANIFEST} there and {BUILD}")


def _most_first(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _count_each(values: NDArray[np.int32]) -> dict[int, int]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _spread(values: NDArray[Any], counted: NDArray[np.bool_], of_type: dict[str, NDArray[np.bool_]]) -> Spread:
    chosen = {name: values[held & counted] for name, held in of_type.items()}
    by_type = {name: measure_quantiles(some) for name, some in chosen.items() if len(some)}
    return Spread(measure_quantiles(values[counted]) if by_type else None, by_type)


def _classify_components(components: dict[str, Any] | None) -> Components | None:
    if not components:
        return None
    classes: dict[int, list[tuple[int, int]]] = {}
    by_size = components.get("by_size") or {}
    for size, count in sorted((int(size), count) for size, count in by_size.items()):
        classes.setdefault(len(str(size)), []).append((size, count))
    found = [
        SizeClass(held[0][0], held[-1][0], sum(count for _, count in held), sum(size * count for size, count in held))
        for held in classes.values()
    ]
    return Components(components["count"], components["largest"], tuple(found) or None)


def _find_hubs(nodes: pa.Table, among: NDArray[np.intp], count: int) -> tuple[Hub, ...]:
    """Returns the nodes of the greatest degree ``among`` some positions, which ascend."""
    degree = nodes["degree"].to_numpy()[among]
    chosen = among[np.argsort(-degree, kind="stable")[:count]]
    rows = nodes.take(chosen).to_pylist()
    return tuple(
        Hub(row["node_name"], row["node_type"], row["degree"], _share(row["degree"], nodes.num_rows)) for row in rows
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _spread_chart(spread: Spread, what: str) -> str | None:
    if spread.overall is None:
        return None
    highest = max(spread.by_type, key=lambda name: spread.by_type[name].median)
    alt = f"Chart of {what} by node type. Half of them have {spread.overall.median:,} or fewer, the greatest number is "
    alt += f"{spread.overall.maximum:,}; the type with the highest median is {highest}."
    return quantile_chart({"all types": spread.overall} | spread.by_type, x_label=what, alt=alt)


def _hops(number: int) -> str:
    return "1 hop" if number == 1 else f"{number} hops"
