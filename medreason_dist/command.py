"""The one command line of every job: ``python jobs/NAME.py --config FILE KEY=VALUE …`` and its exit codes.

0 done; 2 the user's input is at fault (one message: what, where, what next); 1 anything else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from medreason_dist.config import Config, load_config, show_config
from medreason_dist.errors import RunStopped, UserError, find_cause

Job = Callable[[Config], None]


def run_job(job: Job, argv: Sequence[str] | None = None, **others: Job) -> None:
    """Parses the command line, calls ``job`` with its config and ends the process with the exit code.

    Each of ``others`` is called in its place where its name is given, as a flag or as the first word: ``--plan``, ``plan``.
    """
    parser = argparse.ArgumentParser(description=job.__doc__)
    parser.set_defaults(job=job)
    for name, other in others.items():
        parser.add_argument(f"--{name}", dest="job", action="store_const", const=other, help=other.__doc__)
    parser.add_argument("--config", metavar="FILE", help="YAML file; see configs/")
    parser.add_argument("--show-config", action="store_true", help="print the resolved config and stop")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="see docs/configuration.md")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.overrides and arguments.overrides[0] in others:
        arguments.job = others[arguments.overrides.pop(0)]
    try:
        config = load_config(Config, arguments.config, arguments.overrides)
        if arguments.show_config:
            print(show_config(config), end="")
        else:
            arguments.job(config)
    except Exception as error:
        cause = find_cause(error)
        if not isinstance(cause, UserError | RunStopped):
            raise
        print(f"error: {cause}" if isinstance(cause, UserError) else cause, file=sys.stderr)
        sys.exit(cause.exit_code)
