"""The choice of an engine by its kind, and what of a config is vLLM's."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medreason_dist.config import EngineConfig, EngineKind, StructuredOutputs
from medreason_dist.engines import open_engine, require_engine
from medreason_dist.engines.models import fetch_model, require_model
from medreason_dist.engines.openai import OpenAIEngine
from medreason_dist.engines.scripted import ScriptedEngine
from medreason_dist.engines.vllm import engine_args
from medreason_dist.errors import ModelError
from tests.conftest import ROOT

OURS: dict[str, Any] = {
    "kind": EngineKind.vllm,
    "temperature": 0.7,
    "sampling_params": {"top_p": 0.9},
    "base_url": "http://localhost:1/v1",
    "api_key_env": "KEY",
    "max_concurrency": 3,
    "request_timeout_s": 1.0,
    "stall_timeout_s": 1.0,
    "max_retries": 0,
    "structured_outputs": StructuredOutputs.none,
    "env": {"VLLM_LOGGING_LEVEL": "DEBUG"},
}
THEIRS: dict[str, Any] = {
    "model": "some/model",
    "revision": "main",
    "max_model_len": 2048,
    "tensor_parallel_size": 2,
    "pipeline_parallel_size": 2,
    "dtype": "bfloat16",
    "quantization": "fp8",
    "kv_cache_dtype": "fp8",
    "gpu_memory_utilization": 0.5,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 4096,
    "enforce_eager": True,
    "enable_prefix_caching": False,
    "trust_remote_code": True,
}

# By kind -------------------------------------------------------------------------------------------------------------


def test_scripted_is_opened_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text('[{"stage": "trace", "text": "x"}]', encoding="utf-8")
    config = EngineConfig(kind=EngineKind.scripted, model=str(path))
    engine = open_engine(config)
    assert isinstance(engine, ScriptedEngine) and engine.model == str(path)
    require_engine(config)
    path.unlink()
    for call in (open_engine, require_engine):
        with pytest.raises(ModelError, match="the script cannot be read"):
            call(config)


async def test_openai_is_opened_with_its_model() -> None:
    config = EngineConfig(kind=EngineKind.openai, model="m", base_url="http://127.0.0.1:1/v1", max_model_len=2048)
    engine = open_engine(config)
    assert isinstance(engine, OpenAIEngine) and engine.model == "m"
    await engine.close()
    for call in (open_engine, require_engine):
        with pytest.raises(ModelError, match=r"engine\.model is not set"):
            call(dataclasses.replace(config, model=""))


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ("", "engine.model is not set"),
        ("./no-such-folder", "the model's folder does not exist"),
        ("no/such/folder", "the model's folder does not exist"),
        ("~/no-such-folder", "the model's folder does not exist"),
        (__file__, "the model's folder does not exist"),
    ],
)
def test_vllm_without_a_model_says_so(model: str, what: str) -> None:
    config = EngineConfig(model=model)
    for call in (open_engine, require_engine):
        with pytest.raises(ModelError) as caught:
            call(config)
        assert (caught.value.what, caught.value.where) == (what, model)
        assert "engine.model" in caught.value.remedy


@pytest.mark.parametrize("model", ["Qwen/Qwen3-8B", "gpt2"])
def test_a_hub_name_is_not_taken_for_a_path(model: str) -> None:
    require_model(model)


def test_requiring_a_model_does_not_load_vllm(tmp_path: Path) -> None:
    script = f"""
import json, sys
from medreason_dist.config import EngineConfig
from medreason_dist.engines import require_engine
from medreason_dist.errors import ModelError

said = []
for model in ("", "./no-such-folder", {str(tmp_path)!r}, "Qwen/Qwen3-8B"):
    try:
        require_engine(EngineConfig(model=model))
        said.append("")
    except ModelError as error:
        said.append(error.what)
print(json.dumps([said, sorted({{"vllm", "torch", "transformers", "openai"}} & set(sys.modules))]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    said, loaded = json.loads(done.stdout)
    assert said == ["engine.model is not set", "the model's folder does not exist", "", ""]
    assert loaded == []


# vLLM's arguments ----------------------------------------------------------------------------------------------------


def test_what_is_null_is_left_to_vllm() -> None:
    given = engine_args(EngineConfig(model="m"), on_cpu=False)
    nulls = {field.name for field in dataclasses.fields(EngineConfig) if field.default is None}
    assert len(nulls) > 5 and not nulls & set(given)
    assert None not in given.values()
    assert given["model"] == "m" and given["tensor_parallel_size"] == 1 and given["enable_prefix_caching"] is True


def test_every_key_is_either_ours_or_vllms() -> None:
    fields = {field.name for field in dataclasses.fields(EngineConfig)}
    assert fields == set(OURS) | set(THEIRS) | {"vllm_args"}
    given = engine_args(EngineConfig(**OURS, **THEIRS, vllm_args={"seed": 5}), on_cpu=False)
    assert not set(OURS) & set(given) and "vllm_args" not in given
    assert given.items() >= (THEIRS | {"seed": 5}).items()


def test_the_home_folder_is_written_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m").mkdir()
    require_model("~/m")
    assert fetch_model("~/m", None) == str(tmp_path / "m")
    assert fetch_model("Qwen/Qwen3-8B", None) == "Qwen/Qwen3-8B"


def test_vllm_args_come_last() -> None:
    arguments = {"max_num_seqs": 4, "disable_log_stats": False, "structured_outputs_config": {"backend": "xgrammar"}}
    given = engine_args(EngineConfig(model="m", max_num_seqs=8, vllm_args=arguments), on_cpu=False)
    assert given.items() >= arguments.items()


def test_chunked_prefill_is_off_on_cpu_unless_asked_for() -> None:
    config = EngineConfig(model="m")
    asked = dataclasses.replace(config, vllm_args={"enable_chunked_prefill": True})
    assert "enable_chunked_prefill" not in engine_args(config, on_cpu=False)
    assert engine_args(config, on_cpu=True)["enable_chunked_prefill"] is False
    assert engine_args(asked, on_cpu=True)["enable_chunked_prefill"] is True
    assert engine_args(config, on_cpu=True)["structured_outputs_config"]["disable_any_whitespace"] is True
