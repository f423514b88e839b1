"""A model and benchmarks → its scores, beside those of other models."""

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.evaluation.comparison import format_evaluations, read_evaluations, write_comparison
from medreason_dist.evaluation.pipeline import evaluate
from medreason_dist.storage import Folder


def main(config: Config) -> None:
    """Score engine.model on evaluate.benchmarks, or resume where evaluate.uri left off; compare with evaluate.compare."""
    folders = [Folder(uri, config.storage) for uri in (config.evaluate.uri, *config.evaluate.compare)]
    # A folder that cannot be compared with is told before the work, not after.
    read_evaluations(folders[1:])
    evaluate(config)
    evaluations = read_evaluations(folders)
    page = write_comparison(folders[0], evaluations)
    print(format_evaluations(evaluations))
    print(f"evaluation: {config.evaluate.uri}\nin a browser: {page}")


if __name__ == "__main__":
    run_job(main)
