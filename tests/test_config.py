"""Merging, refusing and freezing of configs, and the names that scripts and vLLM rely on."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from medreason_dist import config as config_module
from medreason_dist.config import (
    NEUTRAL,
    Config,
    EngineConfig,
    EngineKind,
    Expand,
    load_config,
    result_keys,
    show_config,
    to_dict,
    walk_fields,
)
from medreason_dist.errors import ConfigError

ROOT = Path(__file__).parent.parent


def load(*pairs: str) -> Config:
    return load_config(Config, None, pairs)


def refuse(*pairs: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(*pairs)
    return caught.value


def test_defaults_then_file_then_command_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("run: {limit: 3, seed: 5}\nneighborhoods: {expand: messages, seeds: [1, 2]}\n", encoding="utf-8")
    config = load_config(Config, path, ["run.seed=6", "questions.sources.medqa=a.jsonl", "engine.kind=openai"])
    assert (config.run.limit, config.run.seed, config.run.shard_questions) == (3, 6, 64)
    assert config.neighborhoods.expand is Expand.messages
    assert config.neighborhoods.seeds == [1, 2]
    assert config.questions.sources == {"medqa": "a.jsonl"}
    assert config.engine.kind is EngineKind.openai


@pytest.mark.parametrize("content", ["", "# nothing\n", "run: {}\n"])
def test_empty_file_gives_the_defaults(tmp_path: Path, content: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content, encoding="utf-8")
    assert load_config(Config, path) == Config()


def test_judge_is_none_or_an_engine_of_its_own() -> None:
    assert load("engine.model=a").judge is None
    judge = load("engine.model=a", "judge.kind=openai", "judge.model=b").judge
    assert judge == EngineConfig(kind=EngineKind.openai, model="b")
    assert load("judge.model=b", "judge=null").judge is None


def test_result_is_frozen_throughout() -> None:
    config = load("judge.model=b", "workers.num_gpus=0")
    for section in [config, *(getattr(config, item.name) for item in dataclasses.fields(config))]:
        name = dataclasses.fields(section)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(section, name, None)


@pytest.mark.parametrize(
    ("pair", "key", "nearest"),
    [
        ("run.limt=3", "run.limt", "run.limit"),
        ("run.shard_question=3", "run.shard_question", "run.shard_questions"),
        ("judge.modle=x", "judge.modle", "judge.model"),
        ("engine.tensor_parallel=2", "engine.tensor_parallel", "engine.tensor_parallel_size"),
        ("neighbourhoods.radius=1", "neighbourhoods", "neighborhoods.seeds"),
        ("questions.source.medqa=x", "questions.source", "questions.sources"),
    ],
)
def test_unknown_key_names_the_nearest(pair: str, key: str, nearest: str) -> None:
    error = refuse(pair)
    assert error.what == f"unknown config key '{key}'"
    assert error.where == f"command line: {pair}"
    if key != "neighbourhoods":
        assert error.remedy == f"did you mean '{nearest}'?"


def test_unknown_dataset_names_the_nearest() -> None:
    error = refuse("questions.sources.medqua=x")
    assert "names no dataset" in error.what and "did you mean 'medqa'?" in error.remedy


@pytest.mark.parametrize(
    "pair",
    [
        "run.limit=abc",
        "run.limit=1.5",
        "run.limit=true",
        "run.uri=null",
        "run.uri.deeper=1",
        "run=5",
        "run=null",
        "run=[1]",
        "judge=3",
        "engine.kind=vlm",
        "engine.temperature=warm",
        "engine.enforce_eager=maybe",
        "linking.min_score=x",
        "neighborhoods.seeds=5",
        "neighborhoods.seeds=[1,a]",
        "questions.sources=5",
        "questions.sources.medqa=[a]",
        "questions.sources.medqa={a: b}",
        "judge.env.CUDA_VISIBLE_DEVICES=[0]",
        "questions.sources.medqa=null",
        "workers.num_gpus=true",
        "run.uri=${nowhere}",
        "run.limit=[1",
        "run.limit",
        "=5",
        ".=1",
        "run[0]=1",
    ],
)
def test_wrong_type_or_form_is_a_config_error(pair: str) -> None:
    error = refuse(pair)
    assert error.what and pair in error.where + error.what
    assert len(str(error).splitlines()) <= 3


@pytest.mark.parametrize(
    "key",
    [
        "run.limit",
        "run.shard_questions",
        "neighborhoods.radius",
        "neighborhoods.buckets",
        "embeddings.batch_size",
        "linking.top_k",
        "paths.max_candidates",
        "trace.attempts",
        "workers.count",
        "workers.shards_in_flight",
    ],
)
def test_counts_start_at_1(key: str) -> None:
    for number in (0, -1):
        assert refuse(f"{key}={number}").what == f"config key '{key}' is {number}"


@pytest.mark.parametrize(
    ("pairs", "where", "part"),
    [
        ("engine.tensor_parallel_size=4", "workers.num_gpus", "make 4 GPUs, a worker has 1"),
        ("engine.tensor_parallel_size=2 engine.vllm_args.pipeline_parallel_size=2 workers.num_gpus=2", "", "make 4"),
        ("workers.num_gpus=0.5", "engine.gpu_memory_utilization", "would take 0.92 of a GPU's memory, its part is 0.5"),
        ("judge.model=b judge.kind=vllm", "engine.gpu_memory_utilization", "would take 1.84"),
    ],
)
def test_engines_that_do_not_fit_a_workers_gpus(pairs: str, where: str, part: str) -> None:
    error = refuse("engine.kind=vllm", *pairs.split())
    assert part in error.what and where in error.where


@pytest.mark.parametrize(
    "pairs",
    [
        "engine.kind=vllm engine.tensor_parallel_size=4 workers.num_gpus=4",
        "engine.kind=vllm engine.tensor_parallel_size=2 workers.num_gpus=0",
        "engine.kind=vllm engine.gpu_memory_utilization=0.45 workers.num_gpus=0.5",
        "engine.kind=openai engine.tensor_parallel_size=4",
    ],
)
def test_engines_that_fit(pairs: str) -> None:
    load(*pairs.split())


def test_a_system_prompt_is_for_chats_alone() -> None:
    load("evaluate.system_prompt=Reason.", "evaluate.prompt=chat")
    assert "'evaluate.prompt' is reasoned" in refuse("evaluate.system_prompt=Reason.").what


@pytest.mark.parametrize(
    "content", [b"a: [1", b"run: \xff", b"- 1", b"5", b"run: {limit: 1}\nrun: {limit: 2}", b"\trun:"]
)
def test_unreadable_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="the config file is not") as caught:
        load_config(Config, path)
    assert caught.value.where == str(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(Config, tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="not readable YAML"):
        load_config(Config, tmp_path)


def test_shown_config_loads_to_the_same(tmp_path: Path) -> None:
    config = load(
        "run.limit=7", "judge.kind=openai", "judge.model=b", "spark.conf.spark.driver.memory=4g", "engine.env.A=1"
    )
    path = tmp_path / "c.yaml"
    path.write_text(show_config(config), encoding="utf-8")
    assert load_config(Config, path) == config
    assert to_dict(config) == yaml.safe_load(show_config(config))


def test_keys_of_the_design_exist() -> None:
    known = {key for key, _, _ in walk_fields(Config)}
    assert (
        set(
            (
                "run.uri run.limit run.seed run.shard_questions questions.sources questions.decontaminate graph.source "
                "graph.uri neighborhoods.engine neighborhoods.expand neighborhoods.radius neighborhoods.seeds "
                "paths.max_candidates paths.top_k engine.kind engine.model engine.base_url judge workers.count "
                "workers.num_gpus workers.shards_in_flight spark.master spark.graphframes_jar spark.conf"
            ).split()
        )
        <= known
    )
    assert any(key.startswith("linking.") for key in known)


def test_neutral_keys_do_not_touch_the_results() -> None:
    base = result_keys(load("judge.kind=openai", "judge.model=b", "engine.model=a"))
    neutral = [
        "run.uri=elsewhere",
        "run.limit=5",
        "workers.count=4",
        "workers.num_gpus=0",
        "engine.base_url=http://localhost:1",
        "engine.env.VLLM_CPU_KVCACHE_SPACE=1",
        "judge.base_url=http://localhost:2",
        "judge.env.A=1",
        "spark.conf.spark.driver.memory=4g",
        "storage.endpoint_url=http://localhost:3",
        "graph.uri=other",
    ]
    assert result_keys(load("judge.kind=openai", "judge.model=b", "engine.model=a", *neutral)) == base


@pytest.mark.parametrize(
    "pair",
    [
        "run.seed=1",
        "run.shard_questions=8",
        "questions.sources.medqa=x",
        "paths.top_k=9",
        "engine.model=other",
        "engine.vllm_args.seed=3",
        "judge.model=other",
        "engine.max_model_len=99",
    ],
)
def test_other_keys_do(pair: str) -> None:
    before, after = (
        result_keys(load("judge.kind=openai", "judge.model=b", "engine.model=a")),
        result_keys(load("judge.kind=openai", "judge.model=b", "engine.model=a", pair)),
    )
    differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    name = pair.partition("=")[0]
    assert differing - {name.rpartition(".")[0]} == {name}


def test_neutral_is_the_only_metadata() -> None:
    assert all(metadata in ({}, NEUTRAL) for _, metadata, _ in walk_fields(Config))


def test_engine_fields_are_vllms_own() -> None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vllm is not installed: pip install medreason-dist[cpu] or [gpu]")
    # Read, not imported: importing vllm takes longer than all other tests of this file.
    source = (Path(spec.origin).parent / "engine" / "arg_utils.py").read_text(encoding="utf-8")
    known = {name for base in ("EngineArgs", "AsyncEngineArgs") for name in _annotated_names(source, base)}
    names = [item.name for item in dataclasses.fields(EngineConfig)]
    borrowed = names[names.index("max_model_len") : names.index("trust_remote_code") + 1]
    assert len(borrowed) >= 10
    assert set(borrowed) - known == set()
    assert {"model", "revision"} <= known


def _annotated_names(source: str, class_name: str) -> list[str]:
    body = next(n.body for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == class_name)
    return [n.target.id for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]


def test_configs_of_the_project_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDREASON_BUCKET", "bucket")
    for path in (ROOT / "configs").glob("*.yaml"):
        assert isinstance(load_config(Config, path), Config)


def test_a_config_that_asks_for_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDREASON_BUCKET", raising=False)
    with pytest.raises(ConfigError, match="Environment variable 'MEDREASON_BUCKET' not found"):
        load_config(Config, ROOT / "configs" / "aws.yaml")


def test_every_field_has_a_docstring() -> None:
    tree = ast.parse(Path(config_module.__file__).read_text(encoding="utf-8"))
    missing: list[Any] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name not in ("Config",):
            for item, following in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(item, ast.AnnAssign | ast.Assign) and not isinstance(following, ast.Expr):
                    missing.append((node.name, ast.unparse(item)))
    assert missing == []
