"""``embed_entities``: node names → Ray actors with one encoder each → ``<graph>/embeddings/``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final, NamedTuple

import pyarrow as pa
import ray.data

from medreason_dist.config import Config, EmbeddingsConfig
from medreason_dist.graph import embeddings
from medreason_dist.graph.store import require_manifest
from medreason_dist.schemas import NODES
from medreason_dist.storage import Folder
from medreason_dist.streaming import cluster

PART_ROWS: Final = 16_384
"""Rows of one Parquet file, and of one block that an actor takes."""
PASSES_A_CALL: Final = 16
"""Forward passes of one call. The encoder sorts the call's names by length, so that a pass pads little."""


class Embedded(NamedTuple):
    """What became of the job."""

    uri: str
    manifest: dict[str, Any]
    embedded: bool
    """False where the folder already held the embeddings of this graph by this model."""


class NameEncoder:
    """The actor: one encoder, loaded once."""

    def __init__(self, config: EmbeddingsConfig) -> None:
        self._config = config

    @cached_property
    def _model(self) -> Any:
        # Not in the constructor: its exceptions reach the driver as text only, so that a ModelError is none any more.
        return embeddings.load_encoder(self._config)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Returns the embeddings of a batch of nodes."""
        vectors = embeddings.encode(self._model, batch["node_name"].to_pylist(), self._config.batch_size)
        return embeddings.build_embeddings_table(batch["node_index"], vectors)


def embed_entities(config: Config) -> Embedded:
    """Embeds all node names of the graph at ``graph.uri``, or finds that done already.

    Raises :class:`GraphError` for an unfinished graph, :class:`ModelError` where the actors cannot load the model.
    """
    graph = Folder(config.graph.uri, config.storage)
    require_manifest(graph)
    uri = graph.child(embeddings.FOLDER).uri
    if (manifest := embeddings.find_embeddings(graph, config.embeddings)) is not None:
        return Embedded(uri, manifest, embedded=False)
    embeddings.require_model(config.embeddings)
    manifest = embeddings.write_embeddings(graph, config.embeddings, _embed(graph, config.embeddings))
    return Embedded(uri, manifest, embedded=True)


def _embed(graph: Folder, config: EmbeddingsConfig) -> Iterator[pa.Table]:
    cluster.connect(config)
    folder = graph.child("nodes")
    names = pa.concat_tables([folder.read_table(name, NODES) for name in folder.names(".parquet")])
    blocks = _split(names.select(["node_index", "node_name"]), config)
    stream = ray.data.from_arrow(blocks).map_batches(
        NameEncoder,
        fn_constructor_args=(config,),
        compute=ray.data.ActorPoolStrategy(size=config.workers),
        num_cpus=config.num_cpus,
        num_gpus=config.num_gpus,
        batch_size=config.batch_size * PASSES_A_CALL,
        batch_format="pyarrow",
    )
    with cluster.unwrapped_errors():
        yield from stream.iter_batches(batch_size=PART_ROWS, batch_format="pyarrow")


def _split(names: pa.Table, config: EmbeddingsConfig) -> list[pa.Table]:
    # An actor takes whole blocks, so that there must be several for each; their sizes are whole batches.
    wanted = -(-names.num_rows // (4 * config.workers))
    rows = min(PART_ROWS, -(-wanted // config.batch_size) * config.batch_size)
    return [names.slice(start, rows) for start in range(0, names.num_rows, rows)]
