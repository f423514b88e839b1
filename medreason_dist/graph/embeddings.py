"""Node names as vectors: encoding, ``<graph>/embeddings/``, and the names nearest to a text."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medreason_dist.config import EmbeddingsConfig
from medreason_dist.errors import GraphError, ModelError
from medreason_dist.graph.store import require_manifest
from medreason_dist.schemas import embeddings as embeddings_schema
from medreason_dist.schemas import schema_fingerprint
from medreason_dist.storage import MANIFEST, Folder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FOLDER: Final = "embeddings"
BLOCK_ROWS: Final = 16_384
"""Names compared in one product: 64 MB of float32 at 1,024 dimensions."""
DECIMALS: Final = 4
"""Scores are rounded to these: what float16 holds, and the same on machines that sum in another order."""
EMBED: Final = "run python jobs/embed_entities.py --config … with the same graph.uri and embeddings.model"


def load_encoder(config: EmbeddingsConfig) -> SentenceTransformer:
    """Returns the model ``embeddings.model``; raises :class:`ModelError` where it cannot be found or loaded."""
    require_model(config)
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(config.model)
    except Exception as error:
        # Whatever transformers, the hub's client and torch raise for a model that is not there, not whole or too large.
        what = f"the embedding model cannot be loaded: {type(error).__name__}: {str(error).splitlines()[0]}"
        offline = " (the hub is switched off by HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE") else ""
        remedy = f"set embeddings.model to a sentence-transformers folder, or to a model on the hub{offline}"
        raise ModelError(what, f"embeddings.model={config.model}", remedy) from error


def require_model(config: EmbeddingsConfig) -> None:
    """Raises :class:`ModelError` for a path that is no folder. A hub name is only looked up when it is loaded."""
    looks_like_path = config.model.startswith(("/", "./", "../", "~")) or config.model.count("/") != 1
    if not config.model or (looks_like_path and "/" in config.model and not Path(config.model).is_dir()):
        remedy = "set embeddings.model to a sentence-transformers folder, or to the name of a model on the hub"
        raise ModelError("the embedding model does not exist", f"embeddings.model={config.model}", remedy)


def encode(model: SentenceTransformer, texts: Sequence[str], batch_size: int) -> NDArray[np.float32]:
    """Returns one unit vector a text, float32, of shape (texts, dimension)."""
    vectors = model.encode(list(texts), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, dtype=np.float32)


def build_embeddings_table(node_index: pa.Array, vectors: NDArray[np.float32]) -> pa.Table:
    """Returns node_index and embedding (float16) with the schema of ``<graph>/embeddings/``."""
    dimension = vectors.shape[1]
    flat = pa.array(vectors.astype(np.float16).ravel(), pa.float16())
    lists = pa.FixedSizeListArray.from_arrays(flat, dimension)
    return pa.table({"node_index": node_index, "embedding": lists}, schema=embeddings_schema(dimension))


def find_embeddings(graph: Folder, config: EmbeddingsConfig) -> dict[str, Any] | None:
    """Returns the manifest of finished embeddings of this graph by this model, or None where there are none."""
    fingerprint, folder = require_manifest(graph)["fingerprint"], graph.child(FOLDER)
    if not folder.exists(MANIFEST):
        return None
    manifest = folder.read_json(MANIFEST)
    made_for = (manifest.get("graph_fingerprint"), manifest.get("model"))
    return cast("dict[str, Any]", manifest) if made_for == (fingerprint, config.model) else None


def write_embeddings(graph: Folder, config: EmbeddingsConfig, tables: Iterable[pa.Table]) -> dict[str, Any]:
    """Writes the tables as ``embeddings/``, replacing older ones, and returns the manifest, which it writes last.

    Raises :class:`GraphError` where the tables do not hold as many rows as the graph has nodes.
    """
    graph_manifest, folder = require_manifest(graph), graph.child(FOLDER)
    tables = iter(tables)
    # What may fail at once, such as loading the model, does so before older embeddings are gone.
    first = next(tables, None)
    folder.delete(MANIFEST)
    for name in folder.names():
        folder.delete(name)
    count, dimension = 0, 0
    for part, table in enumerate(itertools.chain([] if first is None else [first], tables)):
        folder.write_table(f"part-{part}.parquet", table)
        count, dimension = count + table.num_rows, table.schema.field("embedding").type.list_size
    if count != graph_manifest["nodes"]:
        raise GraphError(f"{count} of {graph_manifest['nodes']} names were embedded", folder.uri, EMBED)
    manifest = {
        "model": config.model,
        "dimension": dimension,
        "count": count,
        "graph_fingerprint": graph_manifest["fingerprint"],
        "schema": schema_fingerprint(embeddings_schema(dimension)),
    }
    folder.write_json(MANIFEST, manifest)
    return manifest


class NameEmbeddings:
    """The embedded names of a graph, and the model that embeds texts to compare with them."""

    def __init__(self, node_index: NDArray[np.int32], vectors: NDArray[np.float32], config: EmbeddingsConfig) -> None:
        self._node_index, self._vectors = node_index, vectors
        self._batch_size = config.batch_size
        self._model = load_encoder(config)

    @classmethod
    def open(cls, folder: Folder, config: EmbeddingsConfig) -> NameEmbeddings:
        """Returns the embeddings in the graph folder ``folder``, in memory as float32.

        Raises :class:`GraphError` for a graph without finished embeddings, or with those of another graph or model, and
        :class:`ModelError` where the model cannot be loaded.
        """
        manifest = require_embeddings(folder, config)
        schema = embeddings_schema(manifest["dimension"])
        parts = folder.child(FOLDER)
        tables = [parts.read_table(name, schema) for name in parts.names(".parquet")]
        table = pa.concat_tables([schema.empty_table(), *tables]).sort_by("node_index").combine_chunks()
        halves = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors = halves.reshape(-1, manifest["dimension"]).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return cls(table["node_index"].to_numpy(), vectors, config)

    def nearest(self, texts: Sequence[str], top_k: int) -> list[list[tuple[int, float]]]:
        """Returns for each text up to ``top_k`` pairs (node_index, cosine similarity), the most similar first.

        Equal scores come in the order of node_index.
        """
        if not texts:
            return []
        queries = encode(self._model, texts, self._batch_size)
        blocks = range(0, len(self._vectors), BLOCK_ROWS)
        scores = [queries @ self._vectors[start : start + BLOCK_ROWS].T for start in blocks]
        rounded = np.round(np.concatenate(scores, axis=1), DECIMALS)
        return [self._rank(row, top_k) for row in rounded]

    def _rank(self, scores: NDArray[np.float32], top_k: int) -> list[tuple[int, float]]:
        top_k = min(top_k, len(scores))
        least = np.partition(scores, -top_k)[-top_k]
        candidates = np.flatnonzero(scores >= least)
        best = candidates[np.lexsort((candidates, -scores[candidates]))][:top_k]
        return [(int(self._node_index[i]), round(float(scores[i]), DECIMALS)) for i in best]


def require_embeddings(folder: Folder, config: EmbeddingsConfig) -> dict[str, Any]:
    """Returns the manifest of a graph folder's embeddings.

    Raises :class:`GraphError` where they are unfinished, or of another graph or model.
    """
    fingerprint, parts = require_manifest(folder)["fingerprint"], folder.child(FOLDER)
    if not parts.exists(MANIFEST):
        raise GraphError(f"the graph has no finished embeddings: {MANIFEST} is missing", parts.uri, EMBED)
    manifest: dict[str, Any] = parts.read_json(MANIFEST)
    if manifest.get("graph_fingerprint") != fingerprint:
        raise GraphError("the embeddings were made for another graph", parts.uri, EMBED)
    if manifest.get("model") != config.model:
        what = f"the embeddings were made by {manifest.get('model')}, embeddings.model is {config.model}"
        raise GraphError(what, parts.uri, EMBED)
    return manifest
