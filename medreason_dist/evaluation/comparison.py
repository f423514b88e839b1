"""Evaluations side by side: as text for a terminal, and as a self-contained page with a plot and paired tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import pyarrow as pa

from medreason_dist.errors import RunError
from medreason_dist.evaluation.score import MACRO, Answers, Estimate, Paired, Scorer, collect_answers, compare_answers
from medreason_dist.report.charts import interval_chart
from medreason_dist.report.html import render_page
from medreason_dist.schemas import PREDICTIONS
from medreason_dist.storage import MANIFEST, Folder

PAGE: Final = "comparison.html"
_TITLES: Final = {Scorer.strict: "strict", Scorer.authors: "authors'"}


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation."""

    name: str
    """The last part of its folder's name, or all of it where another evaluation has the same."""
    uri: str
    model: str
    prompt: str
    scores: Mapping[str, Any]
    """The manifest's ``scores``, as :func:`~medreason_dist.evaluation.score.summarise` returns them."""
    answers: Mapping[str, Answers]

    def estimates(self, scorer: Scorer) -> dict[str, Estimate]:
        """Returns the score on each benchmark, then on their average where they are several."""
        rows = {name: row[scorer] for name, row in self.scores["by_benchmark"].items()}
        if len(rows) > 1:
            rows[MACRO] = self.scores["macro_average"][scorer]
        return {name: Estimate(row["value"], row["low"], row["high"]) for name, row in rows.items()}


def read_evaluations(folders: Sequence[Folder]) -> list[Evaluation]:
    """Returns finished evaluations; raises :class:`RunError` for a folder without a manifest or without scores."""
    names = [folder.uri.rpartition("/")[2] for folder in folders]
    return [
        _read_evaluation(folder, name if names.count(name) == 1 else folder.uri)
        for folder, name in zip(folders, names, strict=True)
    ]


def pair_up(evaluations: Sequence[Evaluation]) -> list[tuple[Evaluation, Evaluation, list[Paired]]]:
    """Returns every two evaluations with how they differ; raises :class:`RunError` where their questions do."""
    return [
        (first, second, compare_answers(first.answers, second.answers, f"{first.uri}, {second.uri}"))
        for first, second in combinations(evaluations, 2)
    ]


def format_evaluations(evaluations: Sequence[Evaluation]) -> str:
    """Returns the scores of each evaluation as a table, and of each pair of them how they differ."""
    parts = ["\n".join([_title(each), *_score_lines(each)]) for each in evaluations]
    for first, second, pairs in pair_up(evaluations):
        parts.append("\n".join([f"{second.name} less {first.name}", *_pair_lines(pairs)]))
    return "\n\n".join(parts)


def write_comparison(folder: Folder, evaluations: Sequence[Evaluation]) -> str:
    """Writes the page of several evaluations, or of one, into ``folder`` and returns where it is.

    Raises :class:`RunError` for two that are not on the same questions of a benchmark.
    """
    pairs = pair_up(evaluations)
    charts = {_TITLES[scorer]: _chart(evaluations, scorer) for scorer in Scorer}
    page = render_page(
        "comparison.html",
        evaluations=evaluations,
        charts=charts,
        benchmarks=list(dict.fromkeys(name for each in evaluations for name in each.scores["by_benchmark"])),
        pairs=pairs,
        titles=_TITLES,
        scorers=list(Scorer),
        shown=format_estimate,
        signed=format_difference,
        p_value=format_p_value,
        macro=MACRO,
    )
    folder.write(PAGE, page.encode())
    return f"{folder.uri}/{PAGE}"


def format_estimate(estimate: Estimate) -> str:
    """Returns a share as a percentage with its interval: ``31.4 [28.1, 34.9]``."""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def format_difference(estimate: Estimate) -> str:
    """Returns a difference in percentage points with its interval: ``+2.0 [-0.4, +4.4]``."""
    return f"{100 * estimate.value:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


def format_p_value(p_value: float | None) -> str:
    """Returns a p-value with two digits: ``0.031``, ``< 0.001``, ``–`` for none."""
    if p_value is None:
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"


def _read_evaluation(folder: Folder, name: str) -> Evaluation:
    try:
        scores = folder.read_json(MANIFEST)["scores"]
    except FileNotFoundError:
        raise RunError("the evaluation is not finished: it has no manifest", folder.uri, "finish it first") from None
    except KeyError:
        what = "the folder is no evaluation: its manifest has no scores"
        raise RunError(what, folder.uri, "name folders that jobs/evaluate.py wrote") from None
    files = folder.child("predictions").names(".parquet")
    if not files:
        raise RunError("the evaluation has no predictions", folder.uri, "evaluate anew into another folder")
    rows = pa.concat_tables([folder.read_table(f"predictions/{file}", PREDICTIONS) for file in files])
    model, prompt = rows["model"][0].as_py(), rows["prompt"][0].as_py()["name"]
    return Evaluation(name, folder.uri, model, prompt, scores, collect_answers(rows))


def _title(evaluation: Evaluation) -> str:
    return f"{evaluation.name}: {evaluation.model}, prompt {evaluation.prompt}, {evaluation.uri}"


def _score_lines(evaluation: Evaluation) -> Iterator[str]:
    titles = f"{'strict, %':>22}{_TITLES[Scorer.authors] + ', %':>22}{'takes':>7}{'no answer':>11}{'errors':>8}"
    yield f"  {'benchmark':<16}{'questions':>10}{titles}"
    strict, authors = (evaluation.estimates(scorer) for scorer in Scorer)
    for name, row in evaluation.scores["by_benchmark"].items():
        no_answer, errors = sum(row["strict"]["no_answer"].values()), sum(row["errors"].values())
        scores = f"{format_estimate(strict[name]):>22}{format_estimate(authors[name]):>22}"
        yield f"  {name:<16}{row['questions']:>10,}{scores}{row['authors']['takes']:>7}{no_answer:>11,}{errors:>8,}"
    if MACRO in strict:
        yield f"  {MACRO:<26}{format_estimate(strict[MACRO]):>22}{format_estimate(authors[MACRO]):>22}"


def _pair_lines(pairs: Sequence[Paired]) -> Iterator[str]:
    yield f"  {'benchmark':<16}{'scorer':<9}{'difference, points':>24}{'first only':>12}{'second only':>13}{'p':>10}"
    for each in pairs:
        first, second = ("–" if only is None else f"{only:,}" for only in (each.only_first, each.only_second))
        line = f"  {each.benchmark:<16}{_TITLES[each.scorer]:<9}{format_difference(each.difference):>24}"
        yield f"{line}{first:>12}{second:>13}{format_p_value(each.p_value):>10}"


def _chart(evaluations: Sequence[Evaluation], scorer: Scorer) -> str:
    series = {each.name: each.estimates(scorer) for each in evaluations}
    told = "; ".join(
        f"{name}: " + ", ".join(f"{label} {100 * row.value:.1f}" for label, row in rows.items())
        for name, rows in series.items()
    )
    return interval_chart(
        series,
        x_label="right answers, %",
        alt=f"Chart of the {_TITLES[scorer]} score of each evaluation in percent, with 95 % intervals. {told}.",
    )
