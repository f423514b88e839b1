"""What S3 may answer, without a server."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

from medreason_dist.config import StorageConfig
from medreason_dist.storage import Folder
from medreason_dist.storage.s3 import Connection, Objects


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
