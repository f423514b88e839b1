"""A finished run → its report: one HTML page of figures, and of every question from its text to its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from medreason_dist.config import Method, leaves
from medreason_dist.errors import RunError
from medreason_dist.report.archive import ROWS_A_BLOCK, Archive, Block
from medreason_dist.report.charts import bar_chart, quantile_chart, step_chart
from medreason_dist.report.figures import (
    SCORE_EDGES,
    RunFigures,
    Scores,
    Tally,
    Throughput,
    changed_keys,
    compare_forecast,
    measure_cost,
)
from medreason_dist.report.html import read_script, render_page
from medreason_dist.report.text import iterate_tables, read_manifest, read_method
from medreason_dist.schemas import Stage
from medreason_dist.storage import Folder

PAGE: Final = "report.html"
SCRIPTS: Final = ("archive.js", "marks.js", "drawing.js", "question.js", "views.js")


def write_report(run: Folder, *, audit_rows: int, price_per_gpu_hour: float | None = None) -> str:
    """Writes the report of a finished run into its folder and returns where it lies.

    The page holds ``audit_rows`` questions, the first in the order of the shards, and those that it gives as examples of
    rejections; its figures are about all. Memory: one shard, some five times the page, 60 bytes a row and 16 an
    inner node of a kept path.

    Raises :class:`RunError` for a run that is unfinished or whose traces are not as many as its manifest says,
    :class:`StorageError` for a file that cannot be read.
    """
    manifest = read_manifest(run)
    tally, archive = Tally(read_method(manifest)), Archive()
    for table in iterate_tables(run):
        rows = table.to_pylist()
        tally.add(rows)
        for row in rows:
            # In this order: a row that there is room for may be an example, too.
            if tally.take_example(row) or archive.rows < audit_rows:
                archive.add(row)
    if tally.rows != manifest["questions"]:
        what = f"the traces hold {tally.rows} rows, the manifest says {manifest['questions']}"
        raise RunError(what, f"{run.uri}/traces", "look into it with jobs/inspect_run.py")
    page = render_report(run.uri, manifest, tally.figures(manifest), archive.close(), archive.rows, price_per_gpu_hour)
    run.write(PAGE, page.encode())
    return f"{run.uri}/{PAGE}"


def render_report(
    uri: str,
    manifest: Mapping[str, Any],
    figures: RunFigures,
    blocks: list[Block],
    shown: int,
    price_per_gpu_hour: float | None = None,
) -> str:
    """Returns the report as an HTML page; the same arguments give the same bytes.

    ``blocks`` hold the ``shown`` rows that a reader can open.
    """
    changed, unchanged = changed_keys(manifest["config"])
    usage, method = manifest["usage"]["by_stage"], read_method(manifest)
    return render_page(
        "run.html",
        uri=uri,
        method=method,
        along_graph=method is Method.medreason,
        run=manifest,
        figures=figures,
        blocks=blocks,
        rows_a_block=ROWS_A_BLOCK["details"],
        shown=shown,
        script=read_script(*SCRIPTS),
        cost=measure_cost(manifest, price_per_gpu_hour),
        price=price_per_gpu_hour,
        by_stage={stage: usage[stage] for stage in Stage if stage in usage},
        wall=timedelta(seconds=round(manifest["wall_s"])),
        forecast=compare_forecast(manifest.get("forecast") or {}),
        decontamination=dict(leaves(record)) if (record := manifest.get("decontamination")) else {},
        changed=changed,
        unchanged=unchanged,
        latency_chart=_latency_chart(figures),
        throughput_chart=_throughput_chart(figures.throughput),
        hops_chart=_hops_chart(figures),
        score_charts=[(scores, _score_chart(scores)) for scores in figures.scores],
    )


def _latency_chart(figures: RunFigures) -> str | None:
    if not figures.latency_ms:
        return None
    overall = figures.latency_ms["all"]
    alt = f"Chart of the milliseconds that a question took, by outcome: half took {overall.median:,} or less, "
    return quantile_chart(
        figures.latency_ms, x_label="milliseconds a question", alt=f"{alt}the longest {overall.maximum:,}."
    )


def _throughput_chart(throughput: Throughput | None) -> str | None:
    if throughput is None:
        return None
    scale, unit = _time_unit(len(throughput.finished) * throughput.bin_s)
    edges = [number * throughput.bin_s / scale for number in range(len(throughput.finished) + 1)]
    a_minute = 60 / throughput.bin_s
    rates = {
        "finished": [count * a_minute for count in throughput.finished],
        "of these accepted": [count * a_minute for count in throughput.accepted],
    }
    alt = "Chart of the questions finished a minute over the run's time, and those of them that were accepted: at most "
    alt += f"{max(rates['finished']):,.0f} a minute."
    labels = {"x_label": f"{unit} since the first was finished", "y_label": "questions a minute"}
    return step_chart(edges, rates, **labels, alt=alt)


def _time_unit(seconds: float) -> tuple[int, str]:
    sizes: Iterator[tuple[int, str]] = (
        (size, name) for size, name in ((3600, "hours"), (60, "minutes")) if seconds > 2 * size
    )
    return next(sizes, (1, "seconds"))


def _hops_chart(figures: RunFigures) -> str:
    bars = {"1 hop" if hops == 1 else f"{hops} hops": count for hops, count in figures.paths.by_hops.items()}
    return bar_chart(bars, alt=f"Bar chart of the number of kept paths of each length, {figures.paths.kept:,} in all.")


def _score_chart(scores: Scores) -> str:
    alt = (
        f"Histogram of the {scores.name} of {scores.rows:,} accepted rows; half have {scores.quartiles[1]:.2f} or less."
    )
    return step_chart(
        SCORE_EDGES, {scores.name: scores.histogram}, x_label=scores.name, y_label="accepted rows", alt=alt
    )
