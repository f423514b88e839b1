"""The criteria stand in docs/review.md as reviewers see them."""

from __future__ import annotations

from medreason_dist.review.criteria import GRADES, GUIDES, Criterion
from tests.conftest import ROOT


def test_the_page_of_the_docs_has_every_anchor() -> None:
    page = (ROOT / "docs" / "review.md").read_text(encoding="utf-8")
    assert list(GUIDES) == list(Criterion)
    for criterion, guide in GUIDES.items():
        assert len(guide.anchors) == len(GRADES)
        assert f"| {criterion}: {guide.question[0].lower()}{guide.question[1:]} |" in page
        for grade, anchor in zip(GRADES, guide.anchors, strict=True):
            row = next(line for line in page.splitlines() if line.startswith(f"| {grade} |"))
            assert f"| {anchor} |" in row
