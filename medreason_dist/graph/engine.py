"""What builds a graph folder's tables: ``neighborhoods.engine``. All engines write the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medreason_dist.config import Config
from medreason_dist.graph.adjacency import Adjacency
from medreason_dist.graph.primekg import KnowledgeGraph
from medreason_dist.graph.source import Source
from medreason_dist.storage import Folder


class Engine(NamedTuple):
    """The steps of a build, in their order."""

    parse: Callable[[Config, Source], KnowledgeGraph]
    """Returns the graph; raises :class:`SourceError` as :func:`~medreason_dist.graph.primekg.parse_source` does."""
    expand: Callable[[Config, Adjacency, NDArray[np.intp], Folder], dict[int, int]]
    """Writes the neighborhoods of seeds (positions) into ``neighborhoods/bucket=<n>/`` of a graph folder that has nodes
    and edges. Returns how many nodes stand in all rows of a hop together, by hop from 1."""
    summarise: Callable[[Adjacency, Folder], dict[str, Any]]
    """Returns ``degree`` (max, mean) and ``components`` (count, largest, by_size) of a graph folder for its manifest."""
    versions: Mapping[str, str]
    """Of the libraries that the engine is made of."""
