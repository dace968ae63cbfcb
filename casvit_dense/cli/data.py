"""Look at, check and prepare data sets.

Exit code of check: 0: no error; 1: errors were found; 2: it could not be checked.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_subparsers(metavar="TASK", required=True)
    check = tasks.add_parser("check", help="find every fault before a training does")
    check.add_argument("path", help="data folder, annotation file, description (.yaml) or config")
    check.add_argument("--images", type=Path, metavar="DIR", help="images of an annotation file")
    check.add_argument("--deep", action="store_true", help="decode every image as a whole")
    check.add_argument("--json", type=Path, metavar="FILE", help="write all findings")
    check.set_defaults(task=run_check)


def run(args: argparse.Namespace) -> int:
    code: int = args.task(args) or 0
    return code


def run_check(args: argparse.Namespace) -> int:
    """Checks, prints and writes the findings."""
    raise NotImplementedError
