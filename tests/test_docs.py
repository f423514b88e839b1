"""docs/configuration.md is what scripts/docs.py makes of config.py."""

from __future__ import annotations

import runpy
from pathlib import Path

from medreason_dist.config import Config, walk_fields

ROOT = Path(__file__).parent.parent


def test_page_is_current_and_complete() -> None:
    render = runpy.run_path(str(ROOT / "scripts" / "docs.py"))["render"]
    source = (ROOT / "medreason_dist" / "config.py").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == render(source), "run: python scripts/docs.py"
    for key, _, _ in walk_fields(Config):
        assert f"`{key}`" in page or f"## {key}\n" in page


def test_every_field_has_a_docstring() -> None:
    docs = runpy.run_path(str(ROOT / "scripts" / "docs.py"))
    page = docs["render"]((ROOT / "medreason_dist" / "config.py").read_text(encoding="utf-8"))
    assert [line for line in page.splitlines() if line.endswith("|  |") or line.endswith("`: ")] == []
