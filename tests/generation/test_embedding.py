"""embed_entities with a real model on Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from medreason_dist.config import Config, EmbeddingsConfig
from medreason_dist.errors import GraphError, ModelError
from medreason_dist.generation.embedding import embed_entities
from medreason_dist.graph.embeddings import NameEmbeddings
from medreason_dist.graph.neighborhoods import build_neighborhoods
from medreason_dist.storage import MANIFEST, Folder
from tests.conftest import ROOT
from tests.graph.small import plan, row, to_csv

pytestmark = pytest.mark.ray

NAMES = {1: "myocardial infarction", 2: "aspirin", 3: "Escherichia coli infection", 4: "hypertension", 5: "aspirin"}


@pytest.fixture
def config(ray: None, tmp_path: Path, embedder: str) -> Config:
    """A built graph whose nodes have the names of NAMES."""
    lines = [
        row((x, y, "ppi", "ppi"), x_name=NAMES[x], y_name=NAMES[y], x_type="disease", y_type="disease")
        for x, y in ((1, 2), (3, 4), (4, 5))
    ]
    (tmp_path / "kg.csv").write_bytes(to_csv(lines))
    config = plan(tmp_path / "kg.csv", tmp_path / "graph")
    build_neighborhoods(config)
    return replace(config, embeddings=EmbeddingsConfig(model=embedder, batch_size=2, workers=1))


def test_names_are_embedded_once_and_found(config: Config, embedder: str) -> None:
    result = embed_entities(config)
    assert result.embedded
    assert (result.manifest["count"], result.manifest["dimension"], result.manifest["model"]) == (5, 384, embedder)
    graph = Folder(config.graph.uri)
    parts = graph.child("embeddings")
    table = pa.concat_tables([parts.read_table(name) for name in parts.names(".parquet")])
    assert sorted(table["node_index"].to_pylist()) == sorted(NAMES)
    assert table.schema.field("embedding").type == pa.list_(pa.float16(), 384)

    names = NameEmbeddings.open(graph, config.embeddings)
    heart, drug = names.nearest(["heart attack", "Aspirin"], 2)
    assert heart[0][0] == 1
    assert [node for node, _ in drug] == [2, 5]
    assert drug[0][1] == drug[1][1] > 0.99
    assert names.nearest(["Aspirin"], 2) == [drug]

    again = embed_entities(config)
    assert (again.embedded, again.manifest) == (False, result.manifest)


def test_an_unfinished_graph_is_refused(config: Config) -> None:
    Folder(config.graph.uri).delete(MANIFEST)
    with pytest.raises(GraphError, match=r"jobs/build_neighborhoods.py"):
        embed_entities(config)


def test_a_model_that_only_the_actor_finds_broken(config: Config, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    broken = replace(config, embeddings=replace(config.embeddings, model=str(tmp_path / "broken")))
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        embed_entities(broken)
    assert "Traceback" not in str(caught.value)
    assert not Folder(config.graph.uri).exists(f"embeddings/{MANIFEST}")


def test_the_job_ends_with_2_where_there_is_no_model(config: Config) -> None:
    command = [sys.executable, "jobs/embed_entities.py", f"graph.uri={config.graph.uri}", "embeddings.model=./none"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=dict(os.environ))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: the embedding model does not exist\n")
