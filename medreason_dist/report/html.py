"""Pages from the templates in ``templates/``: self-contained, with all text from data escaped.

A page runs no script but its own, if it has one: its policy names the script's digest. A room with templates of its own
names its package: they extend and include those of this room.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

PACKAGE: Final = "medreason_dist.report"


class Script(NamedTuple):
    """A page's script, and the source expression by which its Content-Security-Policy allows it and no other."""

    text: Markup
    source: str


def read_script(*names: str, package: str = PACKAGE) -> Script:
    """Returns files of a package's ``templates/`` as one script."""
    folder = files(package) / "templates"
    text = "\n".join(['"use strict";', *((folder / name).read_text(encoding="utf-8") for name in names)])
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(text), f"sha256-{digest}")


def render_page(template: str, *, package: str = PACKAGE, **values: Any) -> str:
    """Returns the page that a template makes of ``values``. Only what the template marks as safe is not escaped.

    Filters: ``count`` (12,345), ``percent`` (a share of 0 to 1 as 1.2 %).
    """
    return _environment(package).get_template(template).render(values) + "\n"


def format_percent(share: float) -> str:
    """Returns a share as a percentage with one decimal, or with two significant digits between 0.001 and 1 %."""
    percent = 100 * share
    if 0 < percent < 0.001:
        return "< 0.001 %"
    return f"{percent:.1f} %" if percent >= 1 or not percent else f"{percent:#.2g} %"


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(PACKAGE)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": "{:,}".format, "percent": format_percent}
    return environment
