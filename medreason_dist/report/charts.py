"""Charts as inline SVG: the same input gives the same bytes, text stays text, and the page's CSS colours and sizes them.

A chart is :data:`WIDTH` units wide and scales with the place it is put in: its text is readable at a phone's width, where
a unit is 0.9 pixels. Colours are CSS variables (``--ink``, ``--muted``, ``--grid``, ``--accent``, ``--accent-soft``), of
which :data:`COLOURS` are the defaults.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

WIDTH: Final = 380
ROW_HEIGHT: Final = 21
LABEL_LENGTH: Final = 28
"""Longer labels are cut: the page's tables have them whole."""

COLOURS: Final = {
    "ink": "#1c2733",
    "muted": "#5b6875",
    "grid": "#d9dfe5",
    "accent": "#2b6a8c",
    "accent-soft": "#a3c4d6",
}

_STYLE: Final = {
    # The one font that comes with matplotlib: another machine's fonts would shift the layout.
    "font.family": ["DejaVu Sans"],
    "font.size": 12,
    "svg.fonttype": "none",
    "svg.hashsalt": "medreason_dist",
    # A $ in a label is a dollar sign.
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.edgecolor": COLOURS["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 1,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
}
_NO_METADATA: Final = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_PERCENTS: Final = (10, 25, 50, 75, 90, 100)


class Quantiles(NamedTuple):
    """How whole numbers are spread. Each quantile is one of them: the least that at least so many percent do not exceed."""

    size: int
    """How many numbers there are."""
    p10: int
    p25: int
    median: int
    p75: int
    p90: int
    maximum: int


def measure_quantiles(values: NDArray[np.integer[Any]]) -> Quantiles:
    """Returns the quantiles of whole numbers; raises :class:`ValueError` where there are none."""
    if not len(values):
        raise ValueError("no values have no quantiles")
    ranks = [-(-percent * len(values) // 100) - 1 for percent in _PERCENTS]
    return Quantiles(len(values), *np.sort(values)[ranks].tolist())


def bar_chart(bars: Mapping[str, int], *, alt: str) -> str:
    """Returns one horizontal bar a label, from above in the mapping's order, each with its number; the axis is linear.

    ``alt`` says in words what the chart shows, here and below.
    """
    with _style():
        figure, axes = _rows(list(bars))
        numbers = list(bars.values())
        axes.barh(range(len(bars)), numbers, height=0.66, color=COLOURS["accent"])
        for row, number in enumerate(numbers):
            axes.annotate(f"{number:,}", (number, row), (4, 0), textcoords="offset points", va="center")
        axes.set_xlim(0, max([*numbers, 1]))
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        return _to_svg(figure, alt)


def distribution_chart(counts: Mapping[int, int], *, x_label: str, y_label: str, alt: str) -> str:
    """Returns, on logarithmic axes, how many things have at least each value; ``counts`` says how many have it exactly.

    Values below 1 have no place on a logarithmic axis and are left out.
    """
    drawn = sorted((value, count) for value, count in counts.items() if value >= 1 and count)
    values = np.array([value for value, _ in drawn], dtype=np.int64)
    at_least = np.cumsum(np.array([count for _, count in drawn], dtype=np.int64)[::-1])[::-1]
    with _style():
        figure = Figure(figsize=(WIDTH / 72, 300 / 72), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.step(values, at_least, where="pre", color=COLOURS["accent"], linewidth=2)
        axes.plot(values[-1:], at_least[-1:], "o", color=COLOURS["accent"], markersize=5)
        _number_ticks(axes, "x", *_span(values))
        _number_ticks(axes, "y", *_span(at_least))
        axes.grid(True)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return _to_svg(figure, alt)


def quantile_chart(groups: Mapping[str, Quantiles], *, x_label: str, alt: str) -> str:
    """Returns one row a group, from above in the mapping's order, on a logarithmic axis.

    A line from the 10 % to the 90 % quantile, a box around the middle half, a mark at the median, a dot at the maximum.
    """
    rows = np.arange(len(groups))
    table = np.array(list(groups.values()), dtype=np.int64).reshape(len(groups), len(Quantiles._fields))
    _, p10, p25, median, p75, p90, maximum = table.T
    with _style():
        figure, axes = _rows(list(groups), below=44)
        if (p10 < 1).any():
            axes.set_xscale("symlog", linthresh=1, linscale=0.5)
        else:
            axes.set_xscale("log")
        axes.hlines(rows, p10, p90, color=COLOURS["accent"], linewidth=1.5)
        axes.barh(rows, p75 - p25, left=p25, height=0.56, color=COLOURS["accent-soft"])
        axes.vlines(median, rows - 0.34, rows + 0.34, color=COLOURS["accent"], linewidth=3)
        axes.plot(maximum, rows, "o", color=COLOURS["ink"], markersize=4)
        _number_ticks(axes, "x", *_span(np.concatenate([p10, maximum])))
        axes.grid(True, axis="x")
        axes.set_xlabel(x_label)
        return _to_svg(figure, alt)


def step_chart(
    edges: Sequence[float], series: Mapping[str, Sequence[float]], *, x_label: str, y_label: str, alt: str
) -> str:
    """Returns a histogram: ``series`` have a number for each bin between two ``edges``, the axes are linear from 0.

    The first series is an area; a second one, which is a part of it, another over it. Of several the chart has a legend.
    """
    colours = (COLOURS["accent-soft"], COLOURS["accent"])
    with _style():
        figure = Figure(figsize=(WIDTH / 72, 220 / 72), layout="constrained")
        axes = figure.add_subplot()
        for (label, numbers), colour in zip(series.items(), colours if len(series) > 1 else colours[1:], strict=True):
            axes.stairs(numbers, edges, fill=True, color=colour, label=_shorten(label))
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, max(1.05 * max(map(max, series.values())), 1e-9))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.grid(True, axis="y")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if len(series) > 1:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(series), frameon=False)
        return _to_svg(figure, alt)


def line_chart(series: Mapping[str, Sequence[tuple[float, float]]], *, x_label: str, y_label: str, alt: str) -> str:
    """Returns up to two series of (x, y) as lines on linear axes, each point of the second with a mark. Of several the
    chart has a legend."""
    looks: tuple[dict[str, Any], ...] = (
        {"color": COLOURS["accent"]},
        {"color": COLOURS["ink"], "marker": "o", "markersize": 4},
    )
    with _style():
        figure = Figure(figsize=(WIDTH / 72, 240 / 72), layout="constrained")
        axes = figure.add_subplot()
        for (label, points), look in zip(series.items(), looks, strict=False):
            axes.plot(*np.array(points, dtype=np.float64).reshape(-1, 2).T, linewidth=1.5, label=label, **look)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(True)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if len(series) > 1:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(series), frameon=False)
        return _to_svg(figure, alt)


def interval_chart(series: Mapping[str, Mapping[str, tuple[float, float, float]]], *, x_label: str, alt: str) -> str:
    """Returns, for each label from above, a mark at each series' share with a line from the low to the high end.

    ``series`` maps a series to labels, and these to (share, low, high), from 0 to 1. A series may lack labels. Of several
    the chart has a legend.
    """
    labels = list(dict.fromkeys(label for rows in series.values() for label in rows))
    colours = [COLOURS[name] for name in ("accent", "ink", "accent-soft", "muted")]
    looks = [("osD^"[(turn + place) % 4], colour) for turn in range(4) for place, colour in enumerate(colours)]
    legend_rows = -(-len(series) // 2) if len(series) > 1 else 0
    height = len(labels) * (10 + 12 * len(series)) + 62 + 20 * legend_rows
    with _style():
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        axes = figure.add_subplot()
        for number, ((name, rows), (marker, colour)) in enumerate(zip(series.items(), cycle(looks), strict=False)):
            places = [labels.index(label) + (number + 1) / (len(series) + 1) - 0.5 for label in rows]
            shares, lows, highs = (100 * np.array(list(rows.values())).reshape(-1, 3)).T
            axes.hlines(places, lows, highs, color=colour, linewidth=1.5)
            axes.plot(shares, places, marker, color=colour, markersize=5, label=_shorten(name))
        axes.set_yticks(range(len(labels)), [_shorten(label) for label in labels])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])
        axes.spines["left"].set_visible(False)
        axes.set_xlim(0, 100)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(True, axis="x")
        axes.set_xlabel(x_label)
        if len(series) > 1:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
        return _to_svg(figure, alt)


def _style() -> Any:
    # A user's matplotlibrc would change the bytes.
    return style.context(["default", _STYLE])


def _rows(labels: Sequence[str], below: int = 0) -> tuple[Figure, Axes]:
    """Returns a figure with a row for each label, from above, and ``below`` units for an axis."""
    figure = Figure(figsize=(WIDTH / 72, (ROW_HEIGHT * len(labels) + 14 + below) / 72), layout="constrained")
    axes = figure.add_subplot()
    axes.set_yticks(range(len(labels)), [_shorten(label) for label in labels])
    axes.set_ylim(max(len(labels), 1) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])
    axes.spines["left"].set_visible(False)
    return figure, axes


def _shorten(label: str) -> str:
    # SVG is XML, which has no place for control characters.
    printable = "".join(character if character.isprintable() else " " for character in label)
    return printable if len(printable) <= LABEL_LENGTH else f"{printable[: LABEL_LENGTH - 1]}…"


def _span(numbers: NDArray[np.integer[Any]]) -> tuple[int, int]:
    return (int(numbers.min()), int(numbers.max())) if len(numbers) else (1, 1)


def _number_ticks(axes: Axes, which: str, least: int, greatest: int) -> None:
    """Puts a tick at each power of ten around the numbers, and at 0 if that is among them."""
    first = math.floor(math.log10(least)) if least >= 1 else 0
    # At least two ticks, and room for a whole dot at either end.
    highest = max(1.3 * greatest, 1.1 * 10 ** (first + 1))
    ticks = [0] * (least < 1) + [10**power for power in range(first, math.floor(math.log10(highest)) + 1)]
    axis, limit = (axes.xaxis, axes.set_xlim) if which == "x" else (axes.yaxis, axes.set_ylim)
    axis.set_ticks(ticks, [_short_number(tick) for tick in ticks])
    axis.set_ticks([], minor=True)
    limit(-0.1 if least < 1 else 0.85 * ticks[0], highest)


def _short_number(number: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number // size}{letter}"
    return str(number)


def _to_svg(figure: Figure, alt: str) -> str:
    """Returns the figure as an ``svg`` element without namespaces, as HTML has it, and with ids of its own."""
    content = io.StringIO()
    with warnings.catch_warnings():
        # The reader's browser has the fonts for what DejaVu Sans lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="svg", metadata=_NO_METADATA)
    text = content.getvalue()
    prefix = f"c{hashlib.sha256(text.encode()).hexdigest()[:8]}-"
    root = ET.fromstring(text)
    # Its one style element would hold for the whole page: the root's attributes say the same.
    root.remove(root[0])
    used = set(
        re.findall(r"#([\w-]+)", " ".join(value for element in root.iter() for value in element.attrib.values()))
    )
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        named = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        element.attrib.clear()
        element.attrib.update({name: _localise(name, value, prefix) for name, value in named.items()})
        if element.attrib.get("id", prefix).removeprefix(prefix) not in used:
            element.attrib.pop("id", None)
        element.text, element.tail = element.text if element.tag == "text" else None, "\n"
    for name in ("width", "height", "version"):
        root.attrib.pop(name)
    root.attrib.update({"class": "chart", "role": "img", "aria-label": alt})
    root.attrib.update({"stroke-linejoin": "round", "stroke-linecap": "butt"})
    return ET.tostring(root, encoding="unicode")


def _localise(name: str, value: str, prefix: str) -> str:
    """Returns an attribute's value: ids begin with ``prefix``, colours are variables, the font is the page's."""
    if name == "id":
        return prefix + value
    if name in ("href", "clip-path"):
        return value.replace("#", f"#{prefix}")
    if name == "style":
        value = re.sub(r"font-family: [^;]*;? ?", "", value)
        for variable, colour in COLOURS.items():
            value = value.replace(colour, f"var(--{variable}, {colour})")
    return value
