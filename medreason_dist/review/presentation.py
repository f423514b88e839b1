"""The figures of a review as text for a terminal and as a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from medreason_dist.report.charts import interval_chart
from medreason_dist.report.html import render_page
from medreason_dist.review.agreement import Agreement
from medreason_dist.review.criteria import Criterion
from medreason_dist.review.estimate import Estimate, SignTest
from medreason_dist.review.page import TEMPLATES
from medreason_dist.review.sample import Method
from medreason_dist.review.summary import Preferences, Summary

NOTHING: Final = "–"


def format_summary(summary: Summary) -> str:
    """Returns the figures of a review as text; what reviewers wrote is on the page."""
    return "\n\n".join("\n".join(lines) for lines in _sections(summary))


def render_summary(summary: Summary) -> str:
    """Returns a review's figures, its wrong steps and all that was written as a page."""
    return render_page(
        "summary.html",
        package=TEMPLATES,
        summary=summary,
        names=name_methods(summary),
        chart=_chart(summary.preferences, name_methods(summary)) if summary.preferences else None,
        criteria=list(Criterion),
        shares=_name_shares(summary.preferences, name_methods(summary)) if summary.preferences else {},
        share=format_share,
        grade=format_grade,
        difference=format_difference,
        alpha=format_agreement,
        signs=format_signs,
    )


def name_methods(summary: Summary) -> dict[str, str]:
    """Returns what each method is called: the last part of its dataset's folder, or all of it where that is the same."""
    names = {method: origin.uri.rpartition("/")[2] for method, origin in summary.origins.items()}
    if len(set(names.values())) < len(names):
        return {method: origin.uri for method, origin in summary.origins.items()}
    return names


def format_share(estimate: Estimate | None) -> str:
    """Returns a share in percent with its interval: ``61.7 [50.0, 73.3]``."""
    return _format(estimate, 100, ".1f")


def format_grade(estimate: Estimate | None) -> str:
    """Returns a mean grade with its interval: ``3.42 [3.10, 3.74]``."""
    return _format(estimate, 1, ".2f")


def format_difference(estimate: Estimate | None) -> str:
    """Returns a difference of grades with its interval: ``+0.50 [-0.10, +1.10]``."""
    return _format(estimate, 1, "+.2f")


def format_agreement(agreement: Agreement) -> str:
    """Returns alpha and what it rests on: ``0.691 (40 units, 4 reviewers)``, or why there is none."""
    if agreement.alpha is None:
        return f"none: {agreement.reason}"
    return f"{agreement.alpha:.3f} ({agreement.units} units, {agreement.reviewers} reviewers)"


def format_signs(signs: SignTest, names: dict[str, str]) -> str:
    """Returns the sign test in words."""
    p_value = NOTHING if signs.p_value is None else "< 0.001" if signs.p_value < 0.001 else f"{signs.p_value:.2g}"
    first, second = (names[method] for method in Method)
    return f"{signs.first} questions for {first}, {signs.second} for {second}, {signs.even} even; p = {p_value}"


def _sections(summary: Summary) -> Iterator[list[str]]:
    names = name_methods(summary)
    yield [
        f"{summary.questions} questions, {len(summary.answered)} reviewers",
        *(
            f"  {name:<20} {each.complete:>4} of {each.asked} complete, {each.begun} begun"
            + ("" if each.returned else "; nothing came back")
            for name, each in summary.answered.items()
        ),
    ]
    if summary.preferences is not None:
        preferences = summary.preferences
        yield [
            "preference, % of judgements with 95 % interval",
            *(f"  {name:<38} {format_share(each):>22}" for name, each in _name_shares(preferences, names).items()),
            f"  by majority: {format_signs(preferences.signs, names)}",
            f"  side A, of those that prefer one: {format_share(preferences.side_a)}",
            f"  agreement, alpha: {format_agreement(preferences.agreement)}",
        ]
    paired = ["paired difference"] if summary.preferences is not None else []
    heads = [*(f"{name:.20}" for name in names.values()), *paired]
    yield [
        "mean grade, 1 to 5, with 95 % interval",
        f"  {'':<14}{''.join(f'{head:>22}' for head in heads)}  agreement, alpha",
        *(
            f"  {criterion:<14}"
            + "".join(f"{format_grade(each):>22}" for each in grades.means.values())
            + "".join(f"{format_difference(grades.difference):>22}" for _ in paired)
            + f"  {format_agreement(grades.agreement)}"
            for criterion, grades in summary.grades.items()
        ),
    ]
    yield [f"steps called wrong: {len(summary.wrong_steps)}; traces with comments: {len(summary.comments)}"]


def _name_shares(preferences: Preferences, names: dict[str, str]) -> dict[str, Estimate | None]:
    return {
        f"prefer {names[Method.first]}": preferences.first,
        "no difference": preferences.none,
        f"prefer {names[Method.second]}": preferences.second,
    }


def _chart(preferences: Preferences, names: dict[str, str]) -> str | None:
    rows = {
        name: (each.value, each.low, each.high)
        for name, each in _name_shares(preferences, names).items()
        if each is not None and each.low is not None and each.high is not None
    }
    if not rows:
        return None
    told = ", ".join(f"{name} {100 * value:.1f}" for name, (value, _, _) in rows.items())
    alt = f"Chart of the shares of judgements in percent with 95 % intervals: {told}."
    return interval_chart({"judgements": rows}, x_label="judgements, %", alt=alt)


def _format(estimate: Estimate | None, factor: float, form: str) -> str:
    if estimate is None:
        return NOTHING
    value = format(factor * estimate.value, form)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{format(factor * estimate.low, form)}, {format(factor * estimate.high, form)}]"
