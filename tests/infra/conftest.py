"""Terraform without a cloud: its provider from a mirror, one stack in a mock cloud, the tools of .venv-infra."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.s3_server import free_ports
from tests.conftest import ROOT

INFRA = ROOT / "infra" / "terraform"
TOOLS = Path(os.environ.get("MEDREASON_INFRA_VENV", ROOT / ".venv-infra")) / "bin"
HERE = Path(__file__).parent
MIRRORS = ["/opt/*", "/usr/local/share/*", "/usr/share/terraform/*", "~/.terraform.d/*", "~/.local/share/terraform/*"]
PROVIDER = "registry.terraform.io/hashicorp/aws"

MOCK = """
provider "aws" {
  access_key                  = "mock"
  secret_key                  = "mock"
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  max_retries                 = 3
}
"""
VARIABLES = {
    "region": "us-east-1",
    "zones": ["us-east-1a", "us-east-1b"],
    "bucket": "lab-medreason",
    # moto knows Amazon Linux by its public parameter (so the head's image is looked up), the image with drivers not.
    "worker_image_id": "ami-0d27e0fb3bac4d724",
    # The mock speaks HTTP, and takes a denial for one whatever its condition.
    "deny_insecure_transport": False,
    "force_destroy": True,
    "alert_emails": ["lab@example.org"],
    "models": ["Qwen3-32B"],
    "secret_parameters": {"OPENAI_API_KEY": "/medreason/openai"},
}


@dataclass
class Terraform:
    """Terraform with its provider at hand, in a copy of the configuration."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs one command and returns how it ended."""
        return subprocess.run(
            ["terraform", *command],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def must(self, *command: str, **environment: str) -> str:
        """Runs one command that has to succeed and returns what it printed."""
        done = self.run(*command, **environment)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


@dataclass
class Stack:
    """What became of one stack in the mock cloud, from its first apply to its end."""

    added: int
    second_plan: int
    """Exit code of the plan after the apply: 0 for no changes, 2 for some."""
    second_plan_text: str
    destroyed: int
    left: list[str]
    state: dict[str, Any]

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """Returns the values of all resources of a kind, by address."""
        return {each["address"]: each["values"] for each in self._all(self.state) if each["type"] == kind}

    def only(self, kind: str) -> dict[str, Any]:
        """Returns the values of the one resource of a kind."""
        (values,) = self.resources(kind).values()
        return values

    def _all(self, module: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from module.get("resources", [])
        for child in module.get("child_modules", []):
            yield from self._all(child)


def find_mirror() -> Path | None:
    """Returns a folder that holds the provider: where MEDREASON_TF_MIRROR says, or where people put mirrors."""
    if named := os.environ.get("MEDREASON_TF_MIRROR"):
        return Path(named)
    for pattern in MIRRORS:
        parent = Path(pattern).parent.expanduser()
        for folder in sorted(parent.glob("*")):
            if (folder / PROVIDER).is_dir():
                return folder
    return None


def require_tool(name: str) -> str:
    """Returns the path of a program of .venv-infra, or skips."""
    if not (TOOLS / name).exists():
        pytest.skip(f"{name} is not in {TOOLS}: make that environment from requirements/infra.txt")
    return str(TOOLS / name)


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform, initialised in a copy of infra/terraform."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not on PATH")
    folder = tmp_path_factory.mktemp("terraform")
    settings = folder / "terraform.rc"
    mirror = find_mirror()
    # A mirror that the user set up for Terraform itself stays in force where none is found here.
    if mirror is not None:
        source = f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n'
        settings.write_text("disable_checkpoint = true\n" + source, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TF_"))}
    environment |= {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "TF_CLI_ARGS": "-no-color", "CHECKPOINT_DISABLE": "1"}
    environment |= {"AWS_EC2_METADATA_DISABLED": "true"}
    if mirror is not None or "TF_CLI_CONFIG_FILE" in os.environ:
        environment["TF_CLI_CONFIG_FILE"] = str(settings if mirror else os.environ["TF_CLI_CONFIG_FILE"])
    copy = folder / "terraform"
    shutil.copytree(INFRA, copy, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "terraform.tfvars"))
    found = Terraform(copy, environment)
    done = found.run("init")
    if done.returncode != 0:
        tried = (
            str(mirror) if mirror else f"no mirror at MEDREASON_TF_MIRROR or {', '.join(MIRRORS)}, then the registry"
        )
        pytest.skip(f"terraform init finds no provider ({tried}): {done.stderr.strip()[-300:]}")
    return found


@contextmanager
def start_cloud(folder: Path) -> Iterator[str]:
    """Runs the mock cloud and yields its address."""
    python, (port,) = require_tool("moto_server"), free_ports(1)
    python = str(Path(python).parent / "python")
    log = folder / "cloud.log"
    with log.open("wb") as out:
        environment = os.environ | {"MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}
        server = subprocess.Popen([python, HERE / "mock_cloud.py", str(port)], stdout=out, stderr=out, env=environment)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while not _answers(f"{address}/moto-api/data.json"):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the mock cloud did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        yield address
    finally:
        server.kill()
        server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def stack(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """Applies the whole configuration to the mock cloud, plans again, destroys: once for all tests."""
    folder = tmp_path_factory.mktemp("stack")
    mine = Terraform(folder / "terraform", terraform.environment)
    shutil.copytree(terraform.folder, mine.folder, symlinks=True)
    (mine.folder / "mock_override.tf").write_text(MOCK, encoding="utf-8")
    (mine.folder / "terraform.tfvars.json").write_text(json.dumps(VARIABLES), encoding="utf-8")
    with start_cloud(folder) as address:
        there = {"AWS_ENDPOINT_URL": address}
        added = _count("added", mine.must("apply", "-auto-approve", **there))
        second = mine.run("plan", "-detailed-exitcode", **there)
        state = json.loads(mine.must("show", "-json", **there))["values"]["root_module"]
        destroyed = _count("destroyed", mine.must("destroy", "-auto-approve", **there))
        left = mine.must("state", "list", **there).split()
    return Stack(added, second.returncode, second.stdout + second.stderr, destroyed, left, state)


def _count(what: str, printed: str) -> int:
    found = re.search(rf"Resources:.* (\d+) {what}", printed)
    assert found, printed[-1000:]
    return int(found[1])
