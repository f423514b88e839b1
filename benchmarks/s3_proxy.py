"""A proxy before an S3 server that lets requests fail. It forwards what it gets, so that signatures stay valid.

What may go wrong, by kind:

    503          SlowDown, the server does nothing
    reset        the connection breaks before the server hears of it
    reset_after  the server does it, the answer is lost
    truncate     the answer breaks off after ``after`` bytes of its body
    slow         the answer comes by ``bytes_per_s``
    delay        the server hears of it ``seconds`` later
"""

from __future__ import annotations

import asyncio
import io
import logging
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

from benchmarks.s3_server import S3Server

HOP_BY_HOP = {"connection", "transfer-encoding", "expect"}
CHUNK = 16384
LINGER_0 = struct.pack("ii", 1, 0)
"""With it a socket's end is a reset."""


@dataclass
class Fault:
    """A fault to come: to the next ``times`` requests (-1: to all) whose method and path ``match``."""

    kind: str
    match: str = "."
    times: int = 1
    after: int = 1000
    bytes_per_s: int = 2**16
    seconds: float = 5.0


@dataclass
class FaultProxy:
    """A running proxy; ``storage`` goes through it, ``requests`` counts what did."""

    server: S3Server
    port: int = 0
    requests: int = 0

    def __post_init__(self) -> None:
        self._faults: list[Fault] = []
        self._seen: Counter[str] = Counter()
        self._every = 0
        self._rng = random.Random(0)

    @property
    def storage(self) -> Any:
        """Returns the config that leads through the proxy."""
        return replace(self.server.storage, endpoint_url=f"http://127.0.0.1:{self.port}")

    def inject(self, *faults: dict[str, Any]) -> None:
        """Replaces the faults to come by those with these fields of :class:`Fault`, and forgets those seen."""
        self._faults = [Fault(**fault) for fault in faults]
        self._seen = Counter()
        self._every = 0

    def inject_every(self, every: int, seed: int = 0) -> None:
        """Lets one request in ``every`` fail from now on, drawn at random, as a fault of any kind but «slow»."""
        self.inject()
        self._every, self._rng = every, random.Random(seed)

    def seen(self) -> dict[str, int]:
        """Returns how many faults there were since the last :meth:`inject`, by kind."""
        return dict(self._seen)

    def _pick(self, line: str) -> Fault | None:
        self.requests += 1
        fault = next((each for each in self._faults if each.times and re.search(each.match, line)), None)
        if fault is not None:
            fault.times -= 1
        elif self._every and self._rng.randrange(self._every) == 0:
            kind = self._rng.choice(("503", "reset", "reset_after", "truncate", "delay"))
            fault = Fault(kind, after=100, seconds=self._rng.uniform(0.1, 2))
        if fault is not None:
            self._seen[fault.kind] += 1
        return fault

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Forwards a request, or lets it fail."""
        fault = self._pick(f"{request.method} {request.raw_path}") or Fault("")
        if fault.kind == "503":
            await request.read()
            text = "<Error><Code>SlowDown</Code><Message>injected</Message></Error>"
            return web.Response(status=503, text=text, content_type="application/xml", headers={"Retry-After": "0"})
        if fault.kind == "reset":
            return _reset(request)
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        body = io.BytesIO(await request.read()) if request.can_read_body else None
        async with request.app[SESSION].request(
            request.method,
            URL(f"{self.server.endpoint_url}{request.raw_path}", encoded=True),
            headers=_end_to_end(request.headers.items()),
            data=body,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        ) as answer:
            if fault.kind == "reset_after":
                await answer.read()
                return _reset(request)
            forwarded = web.StreamResponse(status=answer.status, headers=_end_to_end(answer.headers.items()))
            await forwarded.prepare(request)
            sent = 0
            async for chunk in answer.content.iter_chunked(CHUNK):
                if fault.kind == "truncate" and sent + len(chunk) > fault.after:
                    await forwarded.write(chunk[: max(0, fault.after - sent)])
                    # Or the reset overtakes what was written.
                    await asyncio.sleep(0.05)
                    _reset(request)
                    return forwarded
                await forwarded.write(chunk)
                sent += len(chunk)
                if fault.kind == "slow":
                    await asyncio.sleep(len(chunk) / fault.bytes_per_s)
            await forwarded.write_eof()
            return forwarded


SESSION = web.AppKey("session", ClientSession)


def _end_to_end(headers: Any) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]


def _reset(request: web.Request) -> web.Response:
    transport = request.transport
    assert transport is not None
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    transport.abort()
    return web.Response()


@contextmanager
def start_proxy(server: S3Server) -> Iterator[FaultProxy]:
    """Runs a proxy in a thread of this process while the context lasts."""
    # It logs with a traceback each client that was killed in the middle of a request.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    proxy, ready, loop = FaultProxy(server), threading.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        ended = asyncio.Event()
        endings.append(ended.set)
        async with ClientSession(
            timeout=ClientTimeout(total=None), auto_decompress=False, connector=TCPConnector(limit=0)
        ) as session:
            app = web.Application(client_max_size=2**30)
            app[SESSION] = session
            app.router.add_route("*", "/{path:.*}", proxy.handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            proxy.port = runner.addresses[0][1]
            ready.set()
            await ended.wait()
            await runner.cleanup()

    endings: list[Any] = []
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(endings[0])
        thread.join()
        loop.close()
