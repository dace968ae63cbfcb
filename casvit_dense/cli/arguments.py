"""What users type, read and checked before any work, for argparse."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from casvit_dense.errors import UserError
from casvit_dense.files import CONFIG_SUFFIXES, DEFAULT_LEDGER

if TYPE_CHECKING:
    from casvit_dense.data.layouts.describe import LayoutOptions

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
    """A path at which no folder lies."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; give a file")
    return path


def folder_to_write(text: str) -> Path:
    """A folder, or a path at which one can be made."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file; give a folder")
    return path


def add_layout_options(parser: argparse.ArgumentParser, division: bool = True) -> None:
    """Adds what a person may say about a data set that cannot be found, but ``--images``.

    Args:
        division: of images into those for training and those for validation, too.
    """
    group = parser.add_argument_group("what cannot be found in the data")
    group.add_argument(
        "--classes", metavar="NAMES", help="class names: a,b,c or a file with one a line"
    )
    group.add_argument(
        "--ignore-label",
        type=whole_number(0),
        metavar="N",
        help="label of pixels that do not count (default 255); 0: classes count from 1",
    )
    group.add_argument(
        "--task", choices=("detection", "segmentation"), help="where a folder holds both"
    )
    if not division:
        return
    group.add_argument(
        "--split",
        type=number_between(0, 1),
        metavar="SHARE",
        help="share of the images for training, where the data are not divided, e.g. 0.8",
    )
    group.add_argument("--seed", type=whole_number(0), default=0, help="of that choice (default 0)")
    group.add_argument(
        "--group-by", metavar="TEXT", help="images with equal names before TEXT stay together"
    )


def layout_options(args: argparse.Namespace) -> "LayoutOptions":
    """The flags of `add_layout_options`."""
    from dataclasses import fields

    from casvit_dense.data.layouts.describe import LayoutOptions

    names = [field.name for field in fields(LayoutOptions)]
    return LayoutOptions(**{name: getattr(args, name) for name in names if name in args})
