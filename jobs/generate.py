"""Questions and a graph → verified reasoning: the main job. ``--plan`` tells in advance what it will come to."""

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.generation import pipeline
from medreason_dist.generation.forecast import format_forecast
from medreason_dist.report.text import format_counts


def main(config: Config) -> None:
    """Generate verified reasoning for the questions of questions.sources, or resume where run.uri left off."""
    manifest = pipeline.generate(config)
    print(format_counts(manifest))
    print(f"run: {config.run.uri}")


def plan(config: Config) -> None:
    """Try a sample on the engine and print what the run will come to; write nothing but plan.file."""
    rates, expected = pipeline.plan(config)
    print(format_forecast(expected, rates, measured=config.plan.rates is None))
    if config.plan.file:
        print(f"as JSON: {config.plan.file}")


if __name__ == "__main__":
    run_job(main, plan=plan)
