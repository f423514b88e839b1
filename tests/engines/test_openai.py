"""The client of an OpenAI-compatible endpoint, against a real HTTP server that records what it is asked."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest

from medreason_dist.config import EngineConfig, EngineKind, StructuredOutputs
from medreason_dist.engines import require_engine
from medreason_dist.engines.base import (
    Choice,
    Completion,
    Constraint,
    FinishReason,
    JsonSchema,
    Message,
    Regex,
    Request,
)
from medreason_dist.engines.openai import OpenAIEngine
from medreason_dist.errors import EngineError, ModelError, PromptTooLong
from medreason_dist.schemas import Stage

MODEL = "served"
KEY_ENV = "MEDREASON_TEST_KEY"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
SCHEMA = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}


class Endpoint(ThreadingHTTPServer):
    """Answers /v1/models and /v1/chat/completions; ``faults`` are answered before any reply."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models: list[dict[str, Any]] = [{"id": MODEL, "max_model_len": 2048}]
        self.reply = reply()
        self.faults: list[tuple[int, str]] = []
        self.key: str | None = None
        self.page: tuple[str, str] | None = None
        self.bodies: list[dict[str, Any]] = []
        self.gate: threading.Barrier | None = None
        self.linger_s = 0.0
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, body: dict[str, Any]) -> tuple[int, Any]:
        with self.lock:
            self.bodies.append(body)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            fault = self.faults.pop(0) if self.faults else None
        if self.gate:
            self.gate.wait(timeout=60)
        time.sleep(self.linger_s)
        with self.lock:
            self.under_way -= 1
        if fault:
            return fault[0], {"error": {"message": fault[1], "type": "error", "code": fault[0]}}
        return 200, self.reply

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no news; what else fails here shows in the reply."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        endpoint = cast(Endpoint, self.server)
        known = self.path == "/v1/models"
        self.send(*((200, {"object": "list", "data": endpoint.models}) if known else (404, {})))

    def do_POST(self) -> None:
        endpoint = cast(Endpoint, self.server)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send(*(endpoint.answer(body) if self.path == "/v1/chat/completions" else (404, {})))

    def send(self, status: int, body: Any) -> None:
        endpoint = cast(Endpoint, self.server)
        if endpoint.key and self.headers["Authorization"] != f"Bearer {endpoint.key}":
            status, body = 401, {"error": {"message": "Incorrect API key provided"}}
        content, content_type = endpoint.page or (json.dumps(body), "application/json")
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content.encode())))
        # The client waits so long before a retry, instead of half a second and more.
        self.send_header("Retry-After-Ms", "1")
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def reply(**changes: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": changes.pop("content", "Yes.")}
    choice = {"index": 0, "message": message, "finish_reason": changes.pop("finish_reason", "stop")}
    whole = {"id": "1", "object": "chat.completion", "created": 0, "model": MODEL, "choices": [choice], "usage": USAGE}
    return whole | changes


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def config(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> EngineConfig:
    monkeypatch.delenv(KEY_ENV, raising=False)
    return EngineConfig(EngineKind.openai, MODEL, base_url=endpoint.base_url, api_key_env=KEY_ENV, max_retries=0)


def ask(constraint: Constraint | None = None, **changes: Any) -> Request:
    messages = (Message("system", "Be brief."), Message("user", "Does metformin help?"))
    return replace(Request(Stage.trace, messages, max_tokens=64, seed=7, constraint=constraint), **changes)


async def complete(config: EngineConfig, *requests: Request) -> list[Completion]:
    """Returns the completions of requests that are made at once, of ``ask()`` where there are none."""
    engine = OpenAIEngine(config)
    try:
        replies = await asyncio.gather(*map(engine.complete, requests or (ask(),)), return_exceptions=True)
    finally:
        await engine.close()
    for each in replies:
        if isinstance(each, BaseException):
            raise each
    return cast(list[Completion], replies)


# What is sent --------------------------------------------------------------------------------------------------------


async def test_a_request_is_sent_whole(endpoint: Endpoint, config: EngineConfig) -> None:
    extra = {"top_p": 0.9, "repetition_penalty": 1.1}
    await complete(config, ask(temperature=0.8, sampling_params=extra))
    (body,) = endpoint.bodies
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Does metformin help?"}]
    assert body == {"model": MODEL, "messages": messages, "max_tokens": 64, "temperature": 0.8, "seed": 7, **extra}


async def test_control_strings_in_a_question_are_text(endpoint: Endpoint, config: EngineConfig) -> None:
    hostile = (Message("system", "Be brief."), Message("user", "Which?<|eot_id|>[/INST]</s> p<0.05"))
    await complete(config, replace(ask(), messages=hostile))
    (body,) = endpoint.bodies
    assert [message["content"] for message in body["messages"]] == [
        "Be brief.",
        "Which?< |eot_id|>[ /INST]< /s> p<0.05",
    ]


FORMAT = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True}}


@pytest.mark.parametrize(
    ("understood", "constraint", "expected"),
    [
        ("vllm", Choice(("A", "B")), {"structured_outputs": {"choice": ["A", "B"]}}),
        ("vllm", Regex("a+"), {"structured_outputs": {"regex": "a+"}}),
        ("vllm", JsonSchema(SCHEMA), {"response_format": FORMAT}),
        ("vllm", None, {}),
        ("json_schema", Choice(("A", "B")), {}),
        ("json_schema", Regex("a+"), {}),
        ("json_schema", JsonSchema(SCHEMA), {"response_format": FORMAT}),
        ("none", Choice(("A", "B")), {}),
        ("none", Regex("a+"), {}),
        ("none", JsonSchema(SCHEMA), {}),
    ],
)
async def test_a_form_is_asked_for_as_the_endpoint_understands_it(
    endpoint: Endpoint, config: EngineConfig, understood: str, constraint: Constraint | None, expected: dict[str, Any]
) -> None:
    config = replace(config, structured_outputs=StructuredOutputs(understood))
    await complete(config, ask(constraint, sampling_params={"top_k": 5}))
    (body,) = endpoint.bodies
    plain = {"model", "messages", "max_tokens", "temperature", "seed", "top_k"}
    assert body["top_k"] == 5
    assert {name: value for name, value in body.items() if name not in plain} == expected


async def test_the_key_is_that_of_the_environment(
    endpoint: Endpoint, config: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.key = "secret"
    monkeypatch.setenv(KEY_ENV, "secret")
    await complete(config)
    assert len(endpoint.bodies) == 1


async def test_no_more_requests_are_under_way_than_allowed(endpoint: Endpoint, config: EngineConfig) -> None:
    # The server answers none before three have come, and leaves a fourth the time to come.
    endpoint.gate, endpoint.linger_s = threading.Barrier(3), 0.2
    await complete(replace(config, max_concurrency=3), *[ask(seed=seed) for seed in range(6)])
    assert endpoint.most_under_way == 3
    assert sorted(body["seed"] for body in endpoint.bodies) == list(range(6))


# What comes back -----------------------------------------------------------------------------------------------------


async def test_token_counts_are_the_endpoints(config: EngineConfig) -> None:
    assert await complete(config) == [Completion("Yes.", FinishReason.stop, prompt_tokens=11, completion_tokens=7)]


async def test_a_reply_that_ends_by_length_says_so(endpoint: Endpoint, config: EngineConfig) -> None:
    endpoint.reply = reply(finish_reason="length", content=None)
    (completion,) = await complete(config)
    assert (completion.text, completion.finish_reason) == ("", FinishReason.length)


async def test_a_lone_surrogate_in_a_reply_is_replaced(endpoint: Endpoint, config: EngineConfig) -> None:
    endpoint.reply = reply(content="met\ud800formin \U0001f9ec")
    assert [completion.text for completion in await complete(config)] == ["met\ufffdformin \U0001f9ec"]


@pytest.mark.parametrize(
    "unfit",
    [
        {"usage": None},
        {"usage": {}},
        {"usage": USAGE | {"prompt_tokens": -1}},
        {"usage": USAGE | {"prompt_tokens": 2**31}},
        {"usage": USAGE | {"completion_tokens": float("inf")}},
        {"usage": USAGE | {"completion_tokens": "many"}},
        {"choices": []},
        {"choices": [{"index": 0}]},
        {"content": 5},
        {"content": ["Yes."]},
    ],
)
async def test_a_reply_without_usage_or_choices_is_an_engine_error(
    endpoint: Endpoint, config: EngineConfig, unfit: dict[str, Any]
) -> None:
    endpoint.reply = reply(**unfit)
    with pytest.raises(EngineError, match="no choices or no usage"):
        await complete(config)


@pytest.mark.parametrize("content_type", ["text/html", "application/json"])
async def test_a_page_instead_of_a_reply_is_a_typed_error(
    endpoint: Endpoint, config: EngineConfig, content_type: str
) -> None:
    engine = OpenAIEngine(config)
    endpoint.page = ("<html>Welcome</html>", content_type)
    with pytest.raises(EngineError):
        await engine.complete(ask())
    await engine.close()
    with pytest.raises(ModelError, match="does not speak the OpenAI protocol") as caught:
        require_engine(config)
    assert caught.value.where == endpoint.base_url


# Faults of one request -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 2048 tokens. However, you requested 64 output tokens and your prompt "
        "contains at least 1985 input tokens, for a total of at least 2049 tokens.",
        "the request exceeds the available context size, try increasing it",
        "prompt is too long: 203456 tokens > 200000 maximum",
        "The decoder prompt (length 2050) is longer than the maximum model length of 2048.",
    ],
)
async def test_a_prompt_beyond_the_context_is_too_long(endpoint: Endpoint, config: EngineConfig, message: str) -> None:
    endpoint.faults = [(400, message)]
    with pytest.raises(PromptTooLong) as caught:
        await complete(config)
    assert message in str(caught.value)


async def test_a_prompt_beyond_what_the_server_reads_is_too_long(endpoint: Endpoint, config: EngineConfig) -> None:
    endpoint.faults = [(413, "Request Entity Too Large")]
    with pytest.raises(PromptTooLong, match=r"about 33334 prompt tokens: .*Too Large"):
        await complete(config, ask(messages=(Message("user", "word" * 25_000),)))


async def test_more_tokens_to_come_than_the_context_are_not_asked_for(endpoint: Endpoint, config: EngineConfig) -> None:
    for length in (None, 64):
        with pytest.raises(PromptTooLong):
            await complete(replace(config, max_model_len=length), ask(max_tokens=2048))
    with pytest.raises(PromptTooLong):
        await complete(replace(config, max_model_len=64))
    assert endpoint.bodies == []
    await complete(replace(config, max_model_len=65))
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize(
    "message",
    [
        "top_p must be in (0, 1]",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "max_tokens must be at least 1, got 0.",
    ],
)
async def test_a_refused_request_is_an_engine_error(endpoint: Endpoint, config: EngineConfig, message: str) -> None:
    endpoint.faults = [(400, message)]
    with pytest.raises(EngineError, match="refuses the request: ") as caught:
        await complete(config)
    assert message in str(caught.value) and not isinstance(caught.value, PromptTooLong)


async def test_a_fault_that_passes_is_retried(endpoint: Endpoint, config: EngineConfig) -> None:
    endpoint.faults = [(503, "overloaded"), (429, "slow down")]
    assert [completion.text for completion in await complete(replace(config, max_retries=2))] == ["Yes."]
    assert len(endpoint.bodies) == 3


async def test_a_fault_that_stays_is_an_engine_error(endpoint: Endpoint, config: EngineConfig) -> None:
    endpoint.faults = [(503, "overloaded")] * 4
    with pytest.raises(EngineError, match=r"InternalServerError: .*overloaded"):
        await complete(replace(config, max_retries=2))
    assert len(endpoint.bodies) == 3


async def test_a_reply_that_does_not_come_is_an_engine_error(endpoint: Endpoint, config: EngineConfig) -> None:
    endpoint.gate = threading.Barrier(2)
    engine = OpenAIEngine(replace(config, request_timeout_s=0.2))
    with pytest.raises(EngineError, match="APITimeoutError"):
        await engine.complete(ask())
    await engine.close()
    endpoint.gate.abort()


async def test_one_fault_leaves_the_engine_usable(endpoint: Endpoint, config: EngineConfig) -> None:
    engine = OpenAIEngine(replace(config, max_concurrency=1))
    endpoint.faults = [(500, "no")]
    with pytest.raises(EngineError):
        await engine.complete(ask())
    assert (await engine.complete(ask())).text == "Yes."
    await engine.close()


# Faults of the endpoint ----------------------------------------------------------------------------------------------


def test_a_denied_key_names_its_variable(
    endpoint: Endpoint, config: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.key = "secret"
    monkeypatch.setenv(KEY_ENV, "wrong")
    with pytest.raises(ModelError, match="denies access") as caught:
        require_engine(config)
    assert (caught.value.where, KEY_ENV in caught.value.remedy) == (endpoint.base_url, True)


@pytest.mark.parametrize("status", [401, 403])
async def test_access_that_is_denied_to_a_request_stops_the_run(
    endpoint: Endpoint, config: EngineConfig, status: int
) -> None:
    endpoint.faults = [(status, "no")]
    with pytest.raises(ModelError, match="denies access") as caught:
        await complete(config)
    assert KEY_ENV in caught.value.remedy


async def test_a_model_that_is_not_found_stops_the_run(endpoint: Endpoint, config: EngineConfig) -> None:
    endpoint.faults = [(404, "The model does not exist.")]
    with pytest.raises(ModelError, match=r"cannot be used: .*The model does not exist") as caught:
        await complete(config)
    assert caught.value.where == endpoint.base_url


@pytest.mark.parametrize(("served", "told"), [(["b", "a"], "'other' but a, b"), ([], "'other' but nothing")])
def test_a_model_that_is_not_served_names_what_is(
    endpoint: Endpoint, config: EngineConfig, served: list[str], told: str
) -> None:
    endpoint.models = [{"id": name} for name in served]
    with pytest.raises(ModelError) as caught:
        require_engine(replace(config, model="other"))
    assert caught.value.what == f"the endpoint does not serve {told}"
    assert (caught.value.where, caught.value.remedy) == (endpoint.base_url, "correct engine.model")


def test_an_endpoint_that_does_not_tell_a_length_is_taken(endpoint: Endpoint, config: EngineConfig) -> None:
    endpoint.models = [{"id": MODEL}]
    require_engine(config)


@pytest.mark.parametrize("path", ["/v2", ""])
def test_an_address_without_the_protocol_is_a_model_error(endpoint: Endpoint, config: EngineConfig, path: str) -> None:
    base_url = endpoint.base_url.removesuffix("/v1") + path
    with pytest.raises(ModelError, match="cannot be used") as caught:
        require_engine(replace(config, base_url=base_url))
    assert caught.value.where == base_url and "engine.base_url" in caught.value.remedy


def test_no_server_at_the_endpoint_is_a_model_error(config: EngineConfig) -> None:
    with pytest.raises(ModelError, match="cannot be used: Connection error"):
        require_engine(replace(config, base_url="http://127.0.0.1:1/v1"))
