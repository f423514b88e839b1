"""A published dataset, or two → a blind review by experts: what each of them gets, and what came of it."""

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.review.inbox import ANSWERS
from medreason_dist.review.key import KEY
from medreason_dist.review.pipeline import SUMMARY, SUMMARY_PAGE, prepare_review, summarise_review
from medreason_dist.review.presentation import format_summary


def main(config: Config) -> None:
    """Draw review.questions from review.dataset (and review.other) and write a page and a workbook for each reviewer."""
    key = prepare_review(config)
    uri, sample = config.review.uri, key.sample
    few = f", all there are of the {sample.asked} asked for" if len(sample.questions) < sample.asked else ""
    traces = "two traces" if len(sample.origins) > 1 else "one trace"
    print(f"review: {uri}\n{len(sample.questions)} of {sample.available:,} questions{few}, {traces} each")
    for reviewer in key.reviewers:
        print(f"send {reviewer}: {uri}/review-{reviewer}.html, or .xlsx")
    print(f"keep {uri}/{KEY} to yourself; put what comes back into {uri}/{ANSWERS}/ and run: review.py summarise")


def summarise(config: Config) -> None:
    """Summarise what the reviewers sent back, from answers/ of review.uri."""
    print(format_summary(summarise_review(config)))
    print(f"\nsummary: {config.review.uri}/{SUMMARY}\nin a browser: {config.review.uri}/{SUMMARY_PAGE}")


if __name__ == "__main__":
    run_job(main, summarise=summarise)
