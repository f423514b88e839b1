"""A run's folder → what is done, in flight and dead-lettered, and whether it is sound."""

import sys

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.errors import RunError
from medreason_dist.generation.inspection import format_inspection, inspect_run
from medreason_dist.storage import Folder


def main(config: Config) -> None:
    """Print the state of the run at run.uri. Exit code: 0 finished and sound, 1 unfinished but sound, 2 damaged."""
    found = inspect_run(Folder(config.run.uri, config.storage))
    print(format_inspection(found))
    if found.faults:
        raise RunError(
            f"the run is damaged: {len(found.faults)} faults", found.uri, "delete what is at fault and run again"
        )
    sys.exit(0 if found.finished else 1)


if __name__ == "__main__":
    run_job(main)
