"""Degrees and connected components as GraphFrames counts them."""

from __future__ import annotations

from typing import Any

from graphframes import GraphFrame
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from medreason_dist.graph.adjacency import Adjacency
from medreason_dist.graph.spark.session import read_edges, read_nodes
from medreason_dist.storage import Folder


def summarise(session: SparkSession, adjacency: Adjacency, folder: Folder) -> dict[str, Any]:
    """Returns ``degree`` and ``components`` of the graph's ``folder``, from its nodes and edges."""
    nodes = read_nodes(session, folder)
    # Every edge stands in both directions; one says as much about who hangs together.
    pairs = read_edges(session, folder).where("src < dst").select("src", "dst").distinct()
    graph = GraphFrame(nodes, pairs)
    degree = graph.degrees.agg(F.max("degree").alias("max"), F.sum("degree").alias("sum")).first()
    # On the shared fragment of PrimeKG (61,052 pairs): 9 s by graphx, 46 s by the default algorithm.
    sizes = graph.connectedComponents(algorithm="graphx").groupBy("component").agg(F.count("*").alias("size"))
    by_size = {row["size"]: row["count"] for row in sizes.groupBy("size").count().sort("size").collect()}
    return {
        "degree": {"max": degree["max"] or 0, "mean": round((degree["sum"] or 0) / len(adjacency.node_index), 3)},
        "components": {
            "count": sum(by_size.values()),
            "largest": max(by_size),
            "by_size": {str(size): count for size, count in by_size.items()},
        },
    }
