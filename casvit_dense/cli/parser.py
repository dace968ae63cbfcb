"""The parser of the ``casvit-dense`` program: one thin module per sub-command."""

import argparse
from collections.abc import Sequence
from importlib import import_module

from casvit_dense import __version__

COMMANDS = (
    "train",
    "replay",
    "test",
    "predict",
    "analyze",
    "compare",
    "config",
    "data",
    "demo",
    "classify",
    "convert",
    "weights",
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


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of a command; ``rest`` is what follows the flags of a model's command."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(args, "rest") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    return args
