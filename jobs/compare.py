"""Questions, a graph and a model → the model fine-tuned with and without the graph's reasoning, scored side by side."""

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.experiment.pipeline import compare


def main(config: Config) -> None:
    """Generate, publish, fine-tune compare.targets and evaluate each, or resume where compare.uri left off."""
    print(compare(config))
    print(f"\nin a browser: {config.compare.uri}/comparison.html")


if __name__ == "__main__":
    run_job(main)
