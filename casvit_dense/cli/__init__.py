"""The ``casvit-dense`` program: one thin module per sub-command."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from importlib import import_module

from casvit_dense import __version__
from casvit_dense.errors import UserError

COMMANDS = (
    "train",
    "test",
    "predict",
    "analyze",
    "compare",
    "demo",
    "convert",
    "export",
    "benchmark",
    "reproduce",
    "verify",
    "results",
    "report",
    "doctor",
)


def build_parser() -> argparse.ArgumentParser:
    """The whole program's parser; each command module adds its own arguments and its ``run``."""
    parser = argparse.ArgumentParser(
        prog="casvit-dense", description="CAS-ViT for detection and segmentation."
    )
    parser.add_argument("--version", action="version", version=f"casvit-dense {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"casvit_dense.cli.{name}")
        summary = (module.__doc__ or "").strip().splitlines()[0]
        # argparse fills in values behind % in a help, but not in a description.
        command = commands.add_parser(name, help=summary.replace("%", "%%"), description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit code 0: done; 2: bad input, said in one line; 130: interrupted."""
    try:
        args = build_parser().parse_args(argv)
        args.command = shlex.join(["casvit-dense", *(sys.argv[1:] if argv is None else argv)])
        return args.run(args) or 0
    except UserError as error:
        # Processes of one machine fail alike; one of them says why, and the others leave it time
        # for that: torchrun ends all of them with the first.
        if os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0":
            print(f"error: {error}", file=sys.stderr)
        else:
            time.sleep(5)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
