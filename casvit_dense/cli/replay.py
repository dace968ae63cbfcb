"""Make a step again whose loss or gradients were not finite, and show where that began.

Exit code 0: it is not finite here, either; 1: it is finite on this machine; 2: bad input.
"""

import argparse
from pathlib import Path

from casvit_dense.cli.arguments import config_and_checkpoint
from casvit_dense.cli.options import add_run_options, run_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the kept step and where its data are."""
    parser.add_argument("config", nargs="?", help="config file; a kept step knows its own")
    parser.add_argument(
        "checkpoint", metavar="folder", help="kept step, e.g. work_dirs/X/not_finite/iter_12"
    )
    parser.set_defaults(rest=[])
    add_run_options(parser, "replay")


def run(args: argparse.Namespace) -> int:
    """Prints what was found."""
    from casvit_dense.engine.console import quiet_console
    from casvit_dense.engine.replay import replay

    config, folder, _ = config_and_checkpoint(args)
    with quiet_console():
        found = replay(config, Path(folder), run_options(args))
    print("\n".join(found.lines))
    return int(found.finite)
