"""What users type, read and checked before any work, for argparse."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from casvit_dense.errors import UserError
from casvit_dense.files import CONFIG_SUFFIXES, DEFAULT_LEDGER, check_folder, check_writable

Value = TypeVar("Value", int, float)


def add_ledgers(parser: argparse.ArgumentParser) -> None:
    """Adds the files of result rows that a command reads; an empty list: the usual one."""
    parser.add_argument(
        "ledgers",
        nargs="*",
        type=Path,
        metavar="ledger",
        help=f"files of result rows (default {DEFAULT_LEDGER})",
    )


def add_model(parser: argparse.ArgumentParser, exported: bool = True) -> None:
    """Adds ``[CONFIG] CHECKPOINT``; `config_and_checkpoint` tells which is which.

    Args:
        exported: the command takes exported files, too.
    """
    parser.add_argument(
        "config", nargs="?", help="config file; what was trained or exported here knows its own"
    )
    parser.add_argument(
        "checkpoint", help="checkpoint, ours or official" + ", or an exported file" * exported
    )
    parser.set_defaults(rest=[])  # what comes after flags, which argparse leaves over


def config_and_checkpoint(args: argparse.Namespace) -> tuple[str | None, str, list[str]]:
    """Config, checkpoint and what follows them, told apart by the suffix of the first argument.

    Raises:
        UserError: there are too few or too many.
    """
    takes_more = "inputs" in args
    words = [args.config, args.checkpoint, *getattr(args, "inputs", ()), *args.rest]
    given = [word for word in words if word is not None]
    has_config = Path(given[0]).suffix in CONFIG_SUFFIXES
    config, rest = (given[0], given[1:]) if has_config else (None, given)
    if not rest:
        raise UserError(f"{config} is a config; give the checkpoint after it, or that alone")
    checkpoint, *more = rest
    if takes_more and not more:
        raise UserError(f"no images are given after {' '.join(given)}")
    if more and not takes_more:
        raise UserError(
            f"{' '.join(more)}: one checkpoint is expected, {checkpoint} is taken for it; a config "
            f"comes before it and ends in {', '.join(CONFIG_SUFFIXES)}"
        )
    return config, checkpoint, more


def whole_number(low: int) -> Callable[[str], int]:
    """Reads whole numbers from ``low``."""

    def read(text: str) -> int:
        value = _parsed(int, text)
        if value is None or value < low:
            raise argparse.ArgumentTypeError(f"{text!r}: give a whole number, {low} or more")
        return value

    return read


def number_between(low: float, high: float) -> Callable[[str], float]:
    """Reads numbers from ``low`` to ``high``."""

    def read(text: str) -> float:
        value = _parsed(float, text)
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r}: give a number from {low:g} to {high:g}")
        return value

    return read


def positive_number(text: str) -> float:
    """Reads a finite number above 0."""
    value = _parsed(float, text)
    if value is None or not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: give a finite number above 0")
    return value


def _parsed(kind: Callable[[str], Value], text: str) -> Value | None:
    try:
        return kind(text)
    except ValueError:
        return None


def file_to_write(text: str) -> Path:
    """A path at which a file can be written."""
    path = Path(text)
    try:
        check_writable(path)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return path


def folder_to_write(text: str) -> Path:
    """A folder that can be written in, or a path at which one can be made."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file; give a folder")
    try:
        check_folder(path.absolute(), path)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return path
