"""What users type, read and checked before any work, for argparse."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from casvit_dense.files import DEFAULT_LEDGER

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
