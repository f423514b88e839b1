"""A finished run → its counts and some accepted traces as text, and report.html in its folder."""

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.report.run import write_report
from medreason_dist.report.text import format_report
from medreason_dist.storage import Folder


def main(config: Config) -> None:
    """Print the counts of a finished run and report.traces of its accepted traces, and write report.html into its folder."""
    run = Folder(config.run.uri, config.storage)
    print(format_report(run, config.report.traces))
    price = config.plan.price_per_gpu_hour
    page = write_report(run, audit_rows=config.report.audit_rows, price_per_gpu_hour=price)
    print(f"\nAll of it, with every question from its text to its verdict, in a browser:\n  {page}")


if __name__ == "__main__":
    run_job(main)
