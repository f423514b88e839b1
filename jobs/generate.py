"""Questions and a graph → verified reasoning: the main job."""

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.generation.pipeline import generate
from medreason_dist.report.text import format_counts


def main(config: Config) -> None:
    """Generate verified reasoning for the questions of questions.sources, or resume where run.uri left off."""
    manifest = generate(config)
    print(format_counts(manifest))
    print(f"run: {config.run.uri}")


if __name__ == "__main__":
    run_job(main)
