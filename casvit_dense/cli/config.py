"""Show a config as a training with the same flags would use it, or what differs between two."""

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

from casvit_dense.cli.options import add_run_options, run_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``show`` and ``diff``."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    show = commands.add_parser("show", help="the config after flags, checked, as a file")
    show.add_argument("config", help="config file")
    add_run_options(show, "train")
    show.set_defaults(work=run_show)
    diff = commands.add_parser("diff", help="what differs; exit code 1 if something does")
    what = "config file, or a checkpoint or an exported file that keeps its config"
    diff.add_argument("first", type=Path, metavar="A", help=what)
    diff.add_argument("second", type=Path, metavar="B", help="the same")
    diff.set_defaults(work=run_diff)


def run(args: argparse.Namespace) -> int:
    code: int = args.work(args)
    return code


def run_show(args: argparse.Namespace) -> int:
    from casvit_dense.config.diff import sections
    from casvit_dense.config.own_data import find_data
    from casvit_dense.config.read import read_config
    from casvit_dense.config.resolve import resolve
    from casvit_dense.engine.console import quiet_console

    options = run_options(args)
    with redirect_stdout(sys.stderr), quiet_console():
        source = read_config(args.config, options.trusted_configs_only)
        resolved = resolve(source, options, find_data(source, options, training=True))
    print(sections(resolved.config).pretty_text, end="")
    return 0


def run_diff(args: argparse.Namespace) -> int:
    from casvit_dense.config.diff import config_differences
    from casvit_dense.engine.console import quiet_console

    with redirect_stdout(sys.stderr), quiet_console():
        lines = config_differences(args.first, args.second)
    print("\n".join(lines) or "no difference")
    return 1 if lines else 0
