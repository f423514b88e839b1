"""Terraform's own checks and tests, and checkov."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.infra.conftest import INFRA, Terraform, require_tool

MODULES = ["storage", "network", "identity", "ray", "spark", "schedule"]


def test_every_module_has_its_five_files() -> None:
    for folder in [INFRA, *(INFRA / "modules" / name for name in MODULES)]:
        for name in ("main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md"):
            assert (folder / name).is_file(), f"{folder.name}/{name}"


def test_every_variable_and_output_is_described_and_every_variable_typed() -> None:
    for file in [*INFRA.rglob("variables.tf"), *INFRA.rglob("outputs.tf")]:
        for kind, name, body in re.findall(
            r'^(variable|output) "(\w+)" \{\n(.*?)^\}', file.read_text("utf-8"), re.M | re.S
        ):
            assert "  description = " in body, f"{file}: {name}"
            assert kind == "output" or re.search(r"^  type +=", body, re.M), f"{file}: {name}"


@pytest.mark.slow
def test_format_and_validity(terraform: Terraform) -> None:
    terraform.must("fmt", "-check", "-recursive")
    assert "The configuration is valid" in terraform.must("validate")


@pytest.mark.slow
def test_terraforms_own_tests(terraform: Terraform) -> None:
    printed = terraform.must("test")
    found = re.search(r"Success! (\d+) passed, 0 failed", printed)
    assert found and int(found[1]) >= 10, printed[-2000:]


@pytest.mark.slow
def test_checkov_finds_nothing_and_every_skip_says_why() -> None:
    command = [
        require_tool("checkov"),
        "-d",
        ".",
        "--framework",
        "terraform",
        "--compact",
        "--quiet",
        "--skip-download",
    ]
    done = subprocess.run(command, cwd=INFRA, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"Passed checks: \d{3}, Failed checks: 0", done.stdout), done.stdout
    for file in INFRA.rglob("*.tf"):
        for skip in re.findall(r"#checkov:skip=(.*)", file.read_text("utf-8")):
            assert re.fullmatch(r"CKV2?_AWS_\d+:\S.{20,}", skip), f"{file}: {skip}"
