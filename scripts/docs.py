"""Writes docs/configuration.md from the docstrings of medreason_dist/config.py: ``python scripts/docs.py``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "medreason_dist" / "config.py"
PAGE = ROOT / "docs" / "configuration.md"

INTRODUCTION = """\
# Configuration

Generated from `medreason_dist/config.py` by `python scripts/docs.py`; do not edit.

Every job takes the same file and reads its part of it:

    python jobs/NAME.py --config configs/quickstart.yaml KEY=VALUE …

Values are merged in the order defaults, file, command line. An unknown key is refused, naming the nearest known one;
`--show-config` prints the result and stops. A key marked ○ changes no result: it may differ between two starts of the
same run.
"""


@dataclass(frozen=True)
class Field:
    """A field of a config class: its annotation, its default as YAML shows it, whether results depend on it."""

    name: str
    type: str
    default: str
    neutral: bool
    text: str


def render(source: str) -> str:
    """Returns the page for the source text of config.py."""
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    parts = [INTRODUCTION]
    for section in read_fields(classes["Config"]):
        name = section.type.removesuffix(" | None")
        text = section.text or flatten(ast.get_docstring(classes[name]) or "")
        parts.append(f"## {section.name}\n\n{text}\n")
        if section.type == name:
            parts.append(render_table(section.name, list(read_fields(classes[name])), classes))
    return "\n".join(parts)


def render_table(section: str, fields: list[Field], classes: dict[str, ast.ClassDef]) -> str:
    """Returns the Markdown table of one section, with the choices of its enumerations below it."""
    lines, choices = ["| key | type | default | |", "|---|---|---|---|"], []
    for key, field in walk(section, fields, classes):
        mark = " ○" if field.neutral else ""
        kind = field.type.replace("|", "\\|")
        lines.append(f"| `{key}`{mark} | `{kind}` | `{field.default}` | {field.text} |")
        if field.type in classes:
            choices += ["", f"`{key}`:", ""]
            choices += [f"- `{choice.default}`: {choice.text}" for choice in read_fields(classes[field.type])]
    return "\n".join(lines + choices) + "\n"


def walk(section: str, fields: list[Field], classes: dict[str, ast.ClassDef]) -> Iterator[tuple[str, Field]]:
    """Yields the fields of a section, each with its key; those of a section within it in that one's place."""
    for field in fields:
        key = f"{section}.{field.name}"
        inner = list(read_fields(classes[field.type])) if field.type in classes else []
        # The members of an enumeration have no annotation.
        if inner and all(each.type for each in inner):
            yield from walk(key, inner, classes)
        else:
            yield key, field


def read_fields(node: ast.ClassDef) -> Iterator[Field]:
    """Yields the fields of a dataclass or the members of an enumeration, each with the docstring that follows it."""
    for item, following in zip(node.body, [*node.body[1:], None], strict=True):
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = flatten(str(following.value.value))
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            default, neutral = read_default(item.value)
            yield Field(item.target.id, ast.unparse(item.annotation), default, neutral, text)
        elif isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
            yield Field(item.targets[0].id, "", read_default(item.value)[0], False, text)


def read_default(value: ast.expr | None) -> tuple[str, bool]:
    """Returns a default as YAML shows it, and whether its metadata says that results do not depend on it."""
    if isinstance(value, ast.Call):
        found = {word.arg: word.value for word in value.keywords}
        default = found.get("default")
        factory = found.get("default_factory")
        empty = "[]" if isinstance(factory, ast.Name) and factory.id == "list" else "{}"
        return (read_default(default)[0] if default else empty), "metadata" in found
    if isinstance(value, ast.Constant):
        text = str(value.value) or '""'
        return {"None": "null", "True": "true", "False": "false"}.get(text, text), False
    if isinstance(value, ast.Attribute):
        return value.attr, False
    return ast.unparse(value) if value else "", False


def flatten(text: str) -> str:
    """Returns a docstring as one line of Markdown: without reST roles, bars escaped."""
    plain = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", " ".join(text.split()))
    return plain.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(SOURCE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
