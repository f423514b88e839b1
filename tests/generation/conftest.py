"""The quickstart's graph with an engine that answers by script."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medreason_dist.config import Config, EngineConfig, EngineKind, load_config
from medreason_dist.generation.embedding import embed_entities
from medreason_dist.graph.neighborhoods import build_neighborhoods
from tests.conftest import ROOT

TRACE = """### Paths
The question's entity and the answer's entity are joined in the graph.
### Reasoning
The finding in the question stands beside the drug in the graph, and the graph says what it acts on.
### Conclusion
A
"""
PLAIN = TRACE[TRACE.index("### Reasoning") :]
SCRIPT = [
    {"stage": "trace", "text": TRACE},
    {"stage": "prune", "contains": "Group 2", "text": '{"1": [1], "2": [1]}'},
    {"stage": "prune", "text": '{"1": [1]}'},
    {"stage": "answer", "contains": "Reply in one line.", "text": "the first"},
]
"""Beside these rules the scripted engine gives the least that fits: it extracts nothing and answers A."""


@pytest.fixture(scope="session")
def graph(ray: None, embedder: str, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The quickstart's config on a graph that is built and embedded."""
    folder = tmp_path_factory.mktemp("quickstart")
    pairs = [f"graph.uri={folder}/graph", f"embeddings.model={embedder}", "neighborhoods.processes=1"]
    pairs += [f"graph.source={ROOT}/examples/quickstart/kg.csv"]
    config = load_config(Config, ROOT / "configs" / "quickstart.yaml", pairs)
    # Whole paths: nodes of one machine share a working directory, which another one's agent may be unpacking.
    files = config.questions.sources, config.questions.decontaminate
    sources, benchmarks = ({name: str(ROOT / path) for name, path in each.items()} for each in files)
    config = replace(config, questions=replace(config.questions, sources=sources, decontaminate=benchmarks))
    build_neighborhoods(config)
    embed_entities(config)
    return config


@pytest.fixture
def config(graph: Config, tmp_path: Path) -> Config:
    """A run of its own with the scripted engine: 32 questions in 4 shards."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps(SCRIPT), encoding="utf-8")
    return replace(
        graph,
        run=replace(graph.run, uri=str(tmp_path / "run"), shard_questions=9),
        engine=EngineConfig(kind=EngineKind.scripted, model=str(script)),
    )
