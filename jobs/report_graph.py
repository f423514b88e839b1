"""A published graph folder → report.html in it: its figures and plots."""

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.report.graph import write_report
from medreason_dist.storage import Folder


def main(config: Config) -> None:
    """Write report.html, the figures and plots of the graph at graph.uri, into its folder."""
    print(f"written: {write_report(Folder(config.graph.uri, config.storage))}")


if __name__ == "__main__":
    run_job(main)
