"""The main job's program: one question → one trace, by :mod:`medreason_dist.reasoning.program`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from medreason_dist.config import Config, Method
from medreason_dist.engines.base import Engine
from medreason_dist.generation.shards import LAYOUT
from medreason_dist.graph.embeddings import NameEmbeddings
from medreason_dist.graph.store import GraphStore
from medreason_dist.reasoning.linking import Nearest
from medreason_dist.reasoning.mentions import NameIndex
from medreason_dist.reasoning.program import reject_question, run_question
from medreason_dist.reasoning.records import Question, Rejected
from medreason_dist.reasoning.stages import GraphTools, Tools
from medreason_dist.schemas import RejectReason
from medreason_dist.storage import Folder


@dataclass
class Reasoning:
    """A :class:`~medreason_dist.streaming.program.Program`: the graph, its names and their embeddings, for a method that
    reasons along it."""

    config: Config
    layout = LAYOUT

    def open(self) -> None:
        """Maps the graph and indexes its names."""
        if self.config.run.method is Method.medreason:
            _ = self._graph, self._names

    async def run(self, question: Mapping[str, Any], engine: Engine, judge: Engine) -> dict[str, Any]:
        """Returns the trace of a question."""
        return await run_question(Question.from_row(question), self._tools(engine, judge))

    def reject(self, question: Mapping[str, Any], why: str, engine: Engine, judge: Engine) -> dict[str, Any]:
        """Returns the trace of a question that is rejected with ``engine_error``."""
        rejected = Rejected(RejectReason.engine_error, why)
        return reject_question(Question.from_row(question), rejected, self._tools(engine, judge))

    def _tools(self, engine: Engine, judge: Engine) -> Tools:
        if self.config.run.method is Method.plain_cot:
            return Tools(engine, judge, self.config)
        return GraphTools(engine, judge, self.config, self._graph, self._names, self._nearest)

    @cached_property
    def _graph(self) -> GraphStore:
        return GraphStore.open(self.config.graph, self.config.storage)

    @cached_property
    def _names(self) -> NameIndex:
        nodes = self._graph.node_table
        return NameIndex(*(nodes[column].to_pylist() for column in ("node_index", "node_name", "node_type")))

    @cached_property
    def _embeddings(self) -> NameEmbeddings:
        return NameEmbeddings.open(Folder(self.config.graph.uri, self.config.storage), self.config.embeddings)

    @cached_property
    def _embedding(self) -> asyncio.Lock:
        return asyncio.Lock()

    async def _nearest(self, texts: Sequence[str], top_k: int) -> Sequence[Nearest]:
        # The encoder is not safe to call from several threads at once.
        async with self._embedding:
            return await asyncio.to_thread(lambda: self._embeddings.nearest(texts, top_k))
