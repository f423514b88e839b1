"""Runs over the quickstart's input. All is real but Ray and the model: an engine retells the facts that it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medreason_dist.config import Config, Method, load_config
from medreason_dist.engines.base import Choice, Request
from medreason_dist.engines.scripted import ScriptedEngine
from medreason_dist.generation.manifest import write_manifest
from medreason_dist.generation.plan import plan_run, write_questions
from medreason_dist.generation.shards import LAYOUT
from medreason_dist.graph.neighborhoods import build_neighborhoods
from medreason_dist.graph.store import GraphStore
from medreason_dist.reasoning.mentions import NameIndex
from medreason_dist.reasoning.program import run_question
from medreason_dist.reasoning.records import Question
from medreason_dist.reasoning.stages import GraphTools, Tools
from medreason_dist.schemas import Stage
from medreason_dist.storage import Folder
from tests.conftest import ROOT
from tests.graph.small import plan as plan_graph

MakeRun = Callable[..., Config]


def retell(request: Request) -> str | None:
    """A reasoning of the facts in its prompt, if it has any; A of options, and each answer correct."""
    if request.stage is Stage.trace and "\nFacts:\n" not in request.messages[-1].content:
        return "### Reasoning\nOne thing at a time. What is asked for follows from this.\n### Conclusion\nThe first."
    if request.stage is Stage.trace:
        facts = [line[2:] for line in request.messages[-1].content.split("\nFacts:\n")[1].splitlines()]
        told = " ".join(f"We know that {fact}." for fact in facts[:3])
        return f"### Paths\n{facts[0]}\n### Reasoning\nOne thing at a time. {told}\n### Conclusion\nThe first."
    if request.stage is Stage.answer:
        return "A" if isinstance(request.constraint, Choice) else "the first"
    return "correct" if request.stage is Stage.judge else None


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> GraphStore:
    """The quickstart's graph."""
    config = plan_graph(ROOT / "examples/quickstart/kg.csv", tmp_path_factory.mktemp("graph"))
    build_neighborhoods(config)
    return GraphStore.open(config.graph)


@pytest.fixture(scope="session")
def make_run(graph: GraphStore) -> MakeRun:
    """Returns a factory of finished runs: ``make_run(folder, *dotlist)``, whose dataset goes to ``folder/dataset``.

    Their open questions are dropped as contaminated, unless ``decontaminate=False``.
    """
    table = graph.node_table
    names = NameIndex(*(table[column].to_pylist() for column in ("node_index", "node_name", "node_type")))

    async def nearest(texts: Any, top_k: int) -> Any:
        return [[] for _ in texts]

    def make(
        folder: Path, *dotlist: str, reply: Callable[[Request], str | None] = retell, decontaminate: bool = True
    ) -> Config:
        places = [f"run.uri={folder}/run", f"publish.uri={folder}/dataset", "run.shard_questions=8"]
        config = load_config(Config, ROOT / "configs/quickstart.yaml", [*places, *dotlist])
        sources = {dataset: str(ROOT / path) for dataset, path in config.questions.sources.items()}
        benchmarks = {"own": sources["huatuo"]} if decontaminate else {}
        questions = replace(config.questions, sources=sources, decontaminate=benchmarks)
        config = replace(config, questions=questions)
        run = Folder(config.run.uri, config.storage)
        engine = ScriptedEngine(reply)
        along_graph = config.run.method is Method.medreason
        plain = Tools(engine, engine, config)
        tools = GraphTools(engine, engine, config, graph, names, nearest) if along_graph else plain
        plan, selection = plan_run(config, run, graph.fingerprint if along_graph else None)
        if selection is not None:
            plan = write_questions(config, run, plan, selection)
        for shard in LAYOUT.missing(run, plan.shards):
            questions = LAYOUT.read_questions(run, shard)
            rows = [asyncio.run(run_question(Question.from_row(row), tools)) for row in questions.to_pylist()]
            LAYOUT.write(run, shard, questions, [{**row, "latency_s": 0.0} for row in rows])
        write_manifest(config, run, plan, 1.0, {})
        return config

    return make
