"""What may go wrong on the way to S3: a proxy that makes it happen, and answers without a server."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

from medreason_dist.config import StorageConfig
from medreason_dist.storage import Folder
from medreason_dist.storage.s3 import Connection, Objects
from tests.conftest import S3Server, await_health, free_ports


@dataclass(frozen=True)
class FaultProxy:
    """A running proxy before an S3 server; ``storage`` goes through it."""

    storage: StorageConfig
    control: str

    def inject(self, *faults: dict[str, Any]) -> None:
        """Replaces the faults to come: ``match`` (of method and path), ``kind``, ``times`` and the kind's own keys."""
        request = urllib.request.Request(self.control, json.dumps(faults).encode(), method="PUT")
        urllib.request.urlopen(request).close()

    def seen(self) -> dict[str, int]:
        """Returns how many faults there were since the last :meth:`inject`, by kind."""
        with urllib.request.urlopen(self.control) as answer:
            seen: dict[str, int] = json.load(answer)["seen"]
        return seen


@contextmanager
def start_proxy(s3: S3Server, script: Path, log: Path) -> Iterator[FaultProxy]:
    """Runs ``s3_fault_proxy.py``; ends it with the context."""
    port, control_port = free_ports(2)
    upstream = s3.endpoint_url.rpartition(":")[2]
    command = [sys.executable, str(script), str(port), upstream, str(control_port)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            control = f"http://127.0.0.1:{control_port}/faults"
            await_health(process, control, log, seconds=60)
            yield FaultProxy(replace(s3.storage, endpoint_url=f"http://127.0.0.1:{port}"), control)
        finally:
            process.kill()


@dataclass(frozen=True)
class Answer:
    """What S3 is made to say: a status, with an error's code or a body; or what the connection raises."""

    status: int = 200
    code: str = ""
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    raises: Exception | None = None


@dataclass(frozen=True)
class Sent:
    """A request as S3 would have got it; names of headers in lower case."""

    method: str
    url: str
    headers: dict[str, str]


class ScriptedS3:
    """A client whose requests go nowhere: each is kept in ``sent`` and gets the next answer, the last one again."""

    def __init__(self) -> None:
        self._connection = Connection(StorageConfig("http://127.0.0.1:1", "us-east-1", retry_s=5))
        self._connection.client.meta.events.register("before-send.s3", self._answer)
        self.script()

    def script(self, *answers: Answer) -> None:
        """Forgets what was sent and sets the answers to come."""
        self.sent: list[Sent] = []
        self._answers = [*answers] or [Answer()]

    def folder(self, bucket: str = "bucket", **storage: Any) -> Folder:
        """Returns ``s3://<bucket>/prefix`` with fields of its config changed."""
        folder = Folder(f"s3://{bucket}/prefix")
        connection = Connection(replace(self._connection.config, **storage))
        connection.__dict__["client"] = self._connection.client
        folder._place = Objects(bucket, "prefix", connection)
        return folder

    def methods(self) -> list[str]:
        """Returns the methods of what was sent."""
        return [request.method for request in self.sent]

    def _answer(self, request: AWSPreparedRequest, **_: Any) -> Any:
        headers: dict[str, Any] = {name.lower(): value for name, value in request.headers.items()}
        decoded = {name: value.decode() if isinstance(value, bytes) else value for name, value in headers.items()}
        self.sent.append(Sent(str(request.method), str(request.url), decoded))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer.raises is not None:
            raise answer.raises
        body = answer.body
        if answer.code and request.method != "HEAD":
            body = f"<Error><Code>{answer.code}</Code><Message>said so</Message></Error>".encode()
        return AWSResponse(str(request.url), answer.status, HTTPHeaders.from_pairs(answer.headers), _Raw(body))


class _Raw(io.BytesIO):
    """A body as urllib3 gives it."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()
