"""A finished run → its counts and some accepted traces, as text."""

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.report.text import format_report
from medreason_dist.storage import Folder


def main(config: Config) -> None:
    """Print the counts of a finished run and report.traces of its accepted traces."""
    print(format_report(Folder(config.run.uri, config.storage), config.report.traces))


if __name__ == "__main__":
    run_job(main)
