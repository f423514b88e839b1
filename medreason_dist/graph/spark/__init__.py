"""``neighborhoods.engine=spark``: Spark and GraphFrames. The only room that imports pyspark and graphframes.

session.py     the Spark session, its properties, and what it needs to have
source.py      kg.csv → nodes and edges
expansion.py   nodes and edges → neighborhoods, by ``expand=broadcast`` or ``expand=messages``
summary.py     degrees and connected components, by GraphFrames
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version

import pyspark

from medreason_dist.config import Config
from medreason_dist.graph.engine import Engine
from medreason_dist.graph.spark.expansion import expand
from medreason_dist.graph.spark.session import open_session
from medreason_dist.graph.spark.source import parse
from medreason_dist.graph.spark.summary import summarise

VERSIONS = {"pyspark": pyspark.__version__, "graphframes-py": version("graphframes-py")}


@contextlib.contextmanager
def open_engine(config: Config) -> Iterator[Engine]:
    """Yields the engine on a Spark session; raises :class:`ConfigError` as :func:`open_session` does."""
    with open_session(config) as session:
        yield Engine(partial(parse, session), partial(expand, session), partial(summarise, session), VERSIONS)
