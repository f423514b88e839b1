"""The loss curve of a fine-tuning and what came out, as a self-contained page: ``finetune.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from medreason_dist.report.charts import line_chart
from medreason_dist.report.html import render_page
from medreason_dist.storage import Folder

PAGE: Final = "finetune.html"


def write_page(run: Folder, manifest: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> str:
    """Writes the page into the folder of a fine-tuning and returns where it is. ``history`` is the trainer's log."""
    series = {
        "training": [(row["step"], row["loss"]) for row in history if "loss" in row],
        "held out": [(row["step"], row["eval_loss"]) for row in history if "eval_loss" in row],
    }
    drawn = {name: points for name, points in series.items() if points}
    told = "; ".join(f"{name} from {points[0][1]:.3f} to {points[-1][1]:.3f}" for name, points in drawn.items())
    chart = line_chart(
        drawn,
        x_label="optimiser step",
        y_label="loss, nats a token",
        alt=f"Chart of the loss by optimiser step. {told}.",
    )
    page = render_page("finetune.html", chart=chart, manifest=manifest, told=manifest["config"]["finetune"])
    run.write(PAGE, page.encode())
    return f"{run.uri}/{PAGE}"
