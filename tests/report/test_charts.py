"""Charts: what is drawn where, that text stays text, and that the same input gives the same bytes."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest

from medreason_dist.report.charts import (
    WIDTH,
    Quantiles,
    bar_chart,
    distribution_chart,
    interval_chart,
    line_chart,
    measure_quantiles,
    quantile_chart,
    step_chart,
)

SPREAD = Quantiles(9, 1, 2, 4, 8, 16, 1000)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("text")]


def drawn(svg: str, style: str) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """The corners, of shape (corners, 2), of every path whose style has this part."""
    paths = [path.attrib for path in ET.fromstring(svg).iter("path")]
    found = [path["d"] for path in paths if style in path.get("style", "") and "clip-path" in path]
    return [np.array(re.findall(r"-?[\d.]+", path), dtype=float).reshape(-1, 2) for path in found]


def widths(svg: str, style: str) -> list[float]:
    return [float(np.ptp(corners[:, 0])) for corners in drawn(svg, style)]


def test_quantiles_are_values_that_occur() -> None:
    assert measure_quantiles(np.arange(1, 11)) == (10, 1, 3, 5, 8, 9, 10)
    assert measure_quantiles(np.array([7])) == (1, 7, 7, 7, 7, 7, 7)
    assert measure_quantiles(np.array([5, 0, 0, 0])) == (4, 0, 0, 0, 0, 5, 5)
    with pytest.raises(ValueError, match="no quantiles"):
        measure_quantiles(np.array([], dtype=np.int64))


def test_bars_are_as_long_as_their_numbers() -> None:
    svg = bar_chart({"drug": 3000, "disease": 1500, "none": 0}, alt="Three bars")
    assert texts(svg) == ["drug", "disease", "none", "3,000", "1,500", "0"]
    lengths = widths(svg, "fill: var(--accent,")
    assert lengths[1] / lengths[0] == pytest.approx(0.5, abs=0.001)
    assert lengths[2] == 0


@pytest.mark.parametrize("number", [7, 12_345_678])
def test_the_number_beside_the_longest_bar_has_room(number: int) -> None:
    svg = bar_chart({"x" * 28: number}, alt="")
    text = next(element for element in ET.fromstring(svg).iter("text") if element.text == f"{number:,}")
    # A digit of DejaVu Sans is 7.64 units wide at 12, a comma half of that.
    assert float(text.attrib["x"]) + 7.64 * len(str(number)) + 3.82 * f"{number:,}".count(",") < WIDTH


def test_steps_are_as_high_as_their_numbers() -> None:
    series = {"finished": [4, 2, 0], "accepted": [2, 1, 0]}
    svg = step_chart([0, 10, 20, 30], series, x_label="seconds", y_label="rows", alt="Steps")
    assert {"seconds", "rows", "finished", "accepted", "0", "30"} <= set(texts(svg))
    heights = {
        colour: float(np.ptp(drawn(svg, f"fill: var(--{colour},")[0][:, 1])) for colour in ("accent-soft", "accent")
    }
    assert heights["accent-soft"] / heights["accent"] == pytest.approx(2, abs=0.01)


def test_one_series_needs_no_legend_and_no_numbers_are_drawn_too() -> None:
    svg = step_chart([0, 0.5, 1], {"coverage": [0, 0]}, x_label="x", y_label="y", alt="")
    assert "coverage" not in texts(svg)
    assert len(drawn(svg, "fill: var(--accent,")) == 1


def test_a_distribution_counts_the_things_of_at_least_each_value() -> None:
    svg = distribution_chart({0: 50, 1: 900, 10: 90, 100: 10}, x_label="degree", y_label="nodes", alt="")
    assert texts(svg) == ["1", "10", "100", "degree", "10", "100", "1k", "nodes"]
    (corners,) = drawn(svg, "stroke-width: 2;")
    # A decade is a hundredfold of nodes down at the first step, and a tenfold at the second.
    steps = np.unique(corners[:, 1])
    assert np.diff(steps) == pytest.approx([steps[1] - steps[0]] * 2, rel=0.01)
    assert np.ptp(corners[:, 0]) > 0.8 * (WIDTH - 60)


def test_a_group_has_line_box_and_mark_where_its_quantiles_are() -> None:
    svg = quantile_chart({"drug": SPREAD, "disease": SPREAD._replace(median=8)}, x_label="size", alt="")
    assert texts(svg) == ["1", "10", "100", "1k", "size", "drug", "disease"]
    (first, second), boxes = drawn(svg, "stroke-width: 3")[:2], drawn(svg, "fill: var(--accent-soft,")
    left, right = boxes[0][:, 0].min(), boxes[0][:, 0].max()
    assert first[0, 0] == pytest.approx((left + right) / 2, abs=0.01)
    assert second[0, 0] == pytest.approx(right, abs=0.01)
    assert widths(svg, "stroke-width: 1.5")[0] == pytest.approx(2 * (right - left), abs=0.01)


def test_a_group_that_has_zeros_shows_them() -> None:
    svg = quantile_chart({"drug": SPREAD._replace(p10=0)}, x_label="size", alt="")
    assert texts(svg)[:3] == ["0", "1", "10"]


def test_nothing_to_show_is_no_error() -> None:
    assert texts(bar_chart({}, alt="")) == []
    assert texts(distribution_chart({0: 3}, x_label="a", y_label="b", alt="")) == ["1", "10", "a", "1", "10", "b"]


def test_labels_stay_text() -> None:
    labels = ["</text><script>alert(1)</script>", "$x^2$", "tab\tnull\0", "日本", "y" * 90]
    svg = bar_chart(dict.fromkeys(labels, 1), alt='"><script>alert(2)</script>')
    expected = ["</text><script>alert(1)</sc…", "$x^2$", "tab null ", "日本", "y" * 27 + "…"]
    assert texts(svg)[:5] == expected
    assert "<script" not in svg
    assert ET.fromstring(svg).attrib["aria-label"] == '"><script>alert(2)</script>'


def test_a_chart_scales_and_may_stand_beside_others() -> None:
    charts = [
        bar_chart({"a": 1}, alt="a"),
        bar_chart({"b": 2}, alt="b"),
        quantile_chart({"c": SPREAD}, x_label="", alt=""),
    ]
    ids = [element.attrib["id"] for svg in charts for element in ET.fromstring(svg).iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids)) > 0
    for svg in charts:
        assert not {"width", "height"} & set(ET.fromstring(svg).attrib)
        assert set() < set(re.findall(r"(?:href=.|url\()#([\w-]+)", svg)) <= set(ids)
        # Its own style element or a link would reach the rest of the page, or the network.
        assert re.search(r"<style|http|font-family|xmlns", svg) is None


def test_the_users_matplotlib_changes_nothing() -> None:
    plain = quantile_chart({"c": SPREAD}, x_label="size", alt="")
    with matplotlib.rc_context({"font.size": 30, "xtick.major.size": 9, "svg.fonttype": "path"}):
        assert quantile_chart({"c": SPREAD}, x_label="size", alt="") == plain
    assert quantile_chart({"c": SPREAD}, x_label="size", alt="") == plain
    assert matplotlib.rcParams["svg.fonttype"] == "path"


def test_the_text_report_loads_no_charts() -> None:
    script = "import sys, medreason_dist.report.text\nprint({'matplotlib', 'jinja2', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr


def test_intervals_stand_at_their_shares_beside_their_series() -> None:
    series = {"small": {"medqa": (0.25, 0.2, 0.4), "hle": (0.5, 0.1, 0.9)}, "large": {"medqa": (0.75, 0.7, 0.8)}}
    svg = interval_chart(series, x_label="right, %", alt="Three intervals")
    assert {"medqa", "hle", "small", "large", "right, %", "0", "100"} <= set(texts(svg))
    lengths = widths(svg, "stroke: var(--accent,") + widths(svg, "stroke: var(--ink,")
    # 20, 80 and 10 points.
    assert [length / lengths[0] for length in lengths[1:3]] == pytest.approx([4, 0.5], abs=0.01)
    assert svg == interval_chart(series, x_label="right, %", alt="Three intervals")


def test_lines_have_a_legend_and_every_held_out_point_a_mark() -> None:
    series = {"training": [(1, 2.5), (2, 2.0), (3, 1.5)], "held out": [(0, 2.4), (3, 1.9)]}
    svg = line_chart(series, x_label="step", y_label="loss", alt="Two losses")
    assert all(text in svg for text in ("training", "held out", "step", "loss", "Two losses"))
    assert svg.count("<use ") > line_chart(
        {"training": series["training"]}, x_label="step", y_label="loss", alt="One"
    ).count("<use ")
    assert svg == line_chart(series, x_label="step", y_label="loss", alt="Two losses")
