"""Who may import what (design, section 2): the edges between rooms, and where heavy modules belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "medreason_dist"

CORE = {"errors", "config", "schemas", "ids"}
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "ids": set(),
    "schemas": {"ids"},
    "config": {"errors", "schemas"},
    "storage": CORE | {"storage"},
    "command": CORE,
    "questions": CORE | {"storage", "questions"},
    "graph": CORE | {"storage", "graph"},
    "reasoning": CORE | {"engines.base", "reasoning"},
    "engines": CORE | {"storage", "engines"},
    # The comparison of evaluations is a page, drawn by report's charts and templates.
    "evaluation": CORE
    | {"storage", "questions", "engines.base", "streaming", "report.charts", "report.html", "evaluation"},
    "publishing": CORE | {"storage", "report.text", "publishing"},
    # A step of a trace is what grounding calls one.
    "review": CORE
    | {"storage", "publishing.published", "reasoning.verification", "report.charts", "report.html", "review"},
    "streaming": CORE | {"storage", "engines", "streaming"},
    "training": CORE
    | {
        *("storage", "engines.base", "engines.chat", "engines.models", "streaming", "publishing.published"),
        *("report.charts", "report.html", "training"),
    },
}
"""What a room may import of the package; a name stands for all below it. Rooms not listed: see :data:`FORBIDDEN`."""

FORBIDDEN: dict[str, set[str]] = {
    "graph": {"generation", "reasoning.prompts"},
    "generation": {"reasoning.prompts"},
    "evaluation": {"generation"},
    "training": {"generation"},
    "report": {"generation"},
    # Joins the jobs of all other rooms, and words no prompt.
    "experiment": {"reasoning.prompts"},
}

OWNERS: dict[str, set[str]] = {
    "vllm": {"medreason_dist/engines/*"},
    "openai": {"medreason_dist/engines/*"},
    "ray": {"medreason_dist/streaming/*", "medreason_dist/training/*", "medreason_dist/generation/embedding.py"},
    "pyspark": {"medreason_dist/graph/*"},
    "graphframes": {"medreason_dist/graph/*"},
    "boto3": {"medreason_dist/storage/s3.py"},
    "botocore": {"medreason_dist/storage/s3.py"},
    "s3transfer": {"medreason_dist/storage/s3.py"},
    "sentence_transformers": {"medreason_dist/graph/embeddings.py"},
    "torch": {"medreason_dist/engines/*", "medreason_dist/graph/embeddings.py", "medreason_dist/training/*"},
    "transformers": {"medreason_dist/engines/*", "medreason_dist/training/*"},
    "trl": {"medreason_dist/training/*"},
    "peft": {"medreason_dist/training/*"},
    "datasets": {"medreason_dist/training/*"},
    "networkx": set(),
    "krippendorff": {"medreason_dist/review/*"},
    "openpyxl": {"medreason_dist/review/*"},
}
"""Files that may import a third-party module, at their top or inside a function. Tests and benchmarks are exempt."""

REASONING_LOADS_NONE_OF = (
    "ray",
    "vllm",
    "pyspark",
    "graphframes",
    "torch",
    "openai",
    "transformers",
    "boto3",
    "botocore",
    "sentence_transformers",
)


def imported_names(source: str, path: str) -> Iterator[str]:
    """Yields the dotted names that a module imports anywhere in it; ``from a import b`` gives ``a.b``."""
    package = path.removesuffix(".py").replace("/", ".").split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{start}.{name.name}" for name in node.names)


def within(name: str, allowed: set[str]) -> bool:
    """Whether a dotted name is one of ``allowed`` or below one."""
    return any(name == each or name.startswith(f"{each}.") for each in allowed)


def broken_edges(source: str, path: str) -> list[str]:
    """Returns the imports by which a module of the package or a job breaks the rules."""
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
    room = parts[1] if parts[0] == PACKAGE and len(parts) > 1 else ""
    broken = []
    for name in imported_names(source, path):
        top, _, below = name.partition(".")
        owners = OWNERS.get(top)
        inside = top == PACKAGE and below and below != "__version__"
        if (
            (owners is not None and not any(fnmatch(path, pattern) for pattern in owners))
            or (inside and room in ROOMS and not within(below, ROOMS[room]))
            or (inside and within(below, FORBIDDEN.get(room, set())))
        ):
            broken.append(f"{path} imports {name}")
    return broken


def modules() -> list[str]:
    paths = [*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / "jobs").rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


def test_no_import_breaks_the_rules() -> None:
    assert len(modules()) > 10
    broken = [edge for path in modules() for edge in broken_edges((ROOT / path).read_text(encoding="utf-8"), path)]
    assert broken == []


def test_every_file_of_the_package_is_in_a_room_of_the_design() -> None:
    rooms = set(ROOMS) | set(FORBIDDEN) | {"__init__"}
    assert {path.split("/")[1].removesuffix(".py") for path in modules() if path.startswith(PACKAGE)} <= rooms


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("reasoning/program.py", "from medreason_dist.engines.vllm import VllmEngine"),
        ("reasoning/program.py", "from medreason_dist.engines import vllm"),
        ("reasoning/program.py", "from ..storage import Folder"),
        ("reasoning/program.py", "from medreason_dist import storage"),
        ("reasoning/program.py", "def f():\n    import torch"),
        ("graph/khop.py", "import ray.data"),
        ("graph/store.py", "from sentence_transformers import SentenceTransformer"),
        ("graph/store.py", "import medreason_dist.generation.pipeline"),
        ("generation/program.py", "from pyspark.sql import SparkSession"),
        ("generation/program.py", "from medreason_dist.reasoning.prompts import TRACE"),
        ("generation/program.py", "from medreason_dist.reasoning import prompts"),
        ("generation/program.py", "import vllm"),
        ("report/html.py", "from medreason_dist.generation.plan import plan_run"),
        ("questions/readers.py", "import boto3"),
        ("storage/folder.py", "import boto3"),
        ("config.py", "from medreason_dist.storage import Folder"),
        ("errors.py", "from medreason_dist.ids import fingerprint"),
    ],
)
def test_a_broken_edge_is_found(path: str, line: str) -> None:
    assert len(broken_edges(line, f"{PACKAGE}/{path}")) == 1


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("reasoning/program.py", "from medreason_dist.engines.base import Request"),
        ("reasoning/program.py", "from . import prompts"),
        ("reasoning/program.py", "from .prompts import TRACE"),
        ("graph/embeddings.py", "def f():\n    from sentence_transformers import SentenceTransformer"),
        ("generation/program.py", "from medreason_dist.reasoning.program import run_program"),
        ("storage/s3.py", "import boto3"),
        ("engines/vllm.py", "from vllm import AsyncLLM"),
    ],
)
def test_an_allowed_edge_is_not(path: str, line: str) -> None:
    assert broken_edges(line, f"{PACKAGE}/{path}") == []


def test_reasoning_loads_no_heavy_module() -> None:
    names = [path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in modules()]
    wanted = [name for name in names if name.startswith(f"{PACKAGE}.reasoning")]
    script = (
        f"import importlib, sys\n[importlib.import_module(name) for name in {wanted!r}]\n"
        f"print(sorted(name for name in {REASONING_LOADS_NONE_OF!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
