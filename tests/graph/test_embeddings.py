"""Nearest names, on vectors made by hand, and the folders that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from medreason_dist.config import EmbeddingsConfig
from medreason_dist.errors import GraphError, ModelError
from medreason_dist.graph import embeddings
from medreason_dist.graph.embeddings import NameEmbeddings, build_embeddings_table, find_embeddings, write_embeddings
from medreason_dist.graph.neighborhoods import build_neighborhoods
from medreason_dist.storage import MANIFEST, Folder
from tests.graph.small import plan, row, to_csv

CONFIG = EmbeddingsConfig(model="maker/axes", batch_size=2)
VECTORS = np.array([[1, 0, 0], [0.6, 0.8, 0], [0.6, 0.8, 0], [0, 0, 1]], dtype=np.float32)


class Axes:
    """Stands for the encoder: the text "x" is the first axis, and so on."""

    def encode(self, texts: list[str], **_: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.stack([np.eye(3, dtype=np.float32)["xyz".index(text)] for text in texts])


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Nodes 1 to 4, embedded as VECTORS, in two parts of which the later nodes come first."""
    monkeypatch.setattr(embeddings, "load_encoder", lambda config: Axes())
    edges = [(1, 2, "ppi", "ppi"), (3, 4, "ppi", "ppi")]
    (tmp_path / "kg.csv").write_bytes(to_csv(row(edge) for edge in edges))
    build_neighborhoods(plan(tmp_path / "kg.csv", tmp_path / "graph"))
    folder = Folder(str(tmp_path / "graph"))
    index = pa.array([1, 2, 3, 4], pa.int32())
    parts = [build_embeddings_table(index[2:], VECTORS[2:]), build_embeddings_table(index[:2], VECTORS[:2])]
    write_embeddings(folder, CONFIG, parts)
    return folder


@pytest.mark.parametrize("block", [1, 3, 100])
def test_nearest_first_and_ties_by_node(block: int, graph: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "BLOCK_ROWS", block)
    names = NameEmbeddings.open(graph, CONFIG)
    # As stored: 0.6 and 0.8 are no float16.
    assert names.nearest(["y", "x"], 3) == [
        [(2, 0.7999), (3, 0.7999), (1, 0.0)],
        [(1, 1.0), (2, 0.6002), (3, 0.6002)],
    ]
    assert names.nearest(["z"], 1) == [[(4, 1.0)]]
    assert len(names.nearest(["z"], 50)[0]) == 4
    assert names.nearest([], 3) == []


def test_the_manifest(graph: Folder) -> None:
    manifest = graph.child("embeddings").read_json(MANIFEST)
    assert (manifest["model"], manifest["dimension"], manifest["count"]) == ("maker/axes", 3, 4)
    assert manifest["graph_fingerprint"] == graph.read_json(MANIFEST)["fingerprint"]
    assert find_embeddings(graph, CONFIG) == manifest
    assert find_embeddings(graph, EmbeddingsConfig(model="maker/other")) is None


def test_embeddings_without_manifest_are_refused(graph: Folder) -> None:
    graph.child("embeddings").delete(MANIFEST)
    with pytest.raises(GraphError, match=r"no finished embeddings[\s\S]*jobs/embed_entities.py"):
        NameEmbeddings.open(graph, CONFIG)


def test_embeddings_of_another_graph_or_model_are_refused(graph: Folder) -> None:
    with pytest.raises(GraphError, match=r"made by maker/axes, embeddings.model is maker/other"):
        NameEmbeddings.open(graph, EmbeddingsConfig(model="maker/other"))
    path = graph.path / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "other"}))
    with pytest.raises(GraphError, match="another graph"):
        NameEmbeddings.open(graph, CONFIG)


def test_a_graph_without_manifest_is_refused(graph: Folder) -> None:
    graph.delete(MANIFEST)
    with pytest.raises(GraphError, match="no finished graph"):
        NameEmbeddings.open(graph, CONFIG)


def test_too_few_embeddings_leave_no_manifest(graph: Folder) -> None:
    with pytest.raises(GraphError, match="1 of 4 names"):
        write_embeddings(graph, CONFIG, [build_embeddings_table(pa.array([1], pa.int32()), VECTORS[:1])])
    assert find_embeddings(graph, CONFIG) is None


def test_a_failure_before_the_first_vector_leaves_the_old_ones(graph: Folder) -> None:
    def fail() -> Any:
        raise ModelError("no model")
        yield

    with pytest.raises(ModelError):
        write_embeddings(graph, CONFIG, fail())
    assert find_embeddings(graph, CONFIG) is not None


@pytest.mark.parametrize("model", ["", "/no/such/folder", "./models/none", "models/none/at-all"])
def test_a_model_path_that_does_not_exist(model: str) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        embeddings.require_model(EmbeddingsConfig(model=model))


@pytest.mark.model
def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        embeddings.load_encoder(EmbeddingsConfig(model=str(tmp_path)))
