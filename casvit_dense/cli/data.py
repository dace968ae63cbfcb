"""Look at, check and prepare data sets.

Exit code of check: 0: no error; 1: errors were found; 2: it could not be checked.
"""

import argparse
import sys
from pathlib import Path

from casvit_dense.cli.arguments import folder_to_write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_subparsers(metavar="TASK", required=True)
    check = tasks.add_parser("check", help="find every fault before a training does")
    check.add_argument("path", help="data folder, annotation file, description (.yaml) or config")
    check.add_argument("--images", type=Path, metavar="DIR", help="images of an annotation file")
    check.add_argument("--deep", action="store_true", help="decode every image as a whole")
    check.add_argument("--json", type=Path, metavar="FILE", help="write all findings")
    check.set_defaults(task=run_check)
    prepare = tasks.add_parser("prepare", help="fetch COCO or ADE20K to where the recipes look")
    prepare.add_argument("name", choices=("coco", "ade"), help="COCO 2017 (21 GB) or ADE20K (1 GB)")
    prepare.add_argument(
        "--out", type=folder_to_write, metavar="DIR", help="default: data/coco or data/ade"
    )
    prepare.add_argument("--mirror", metavar="URL", help="address of a folder with the archives")
    prepare.add_argument("--keep-archives", action="store_true", help="keep the zip files, too")
    prepare.set_defaults(task=run_prepare)


def run(args: argparse.Namespace) -> int:
    code: int = args.task(args) or 0
    return code


def run_check(args: argparse.Namespace) -> int:
    """Checks, prints and writes the findings."""
    raise NotImplementedError


def run_prepare(args: argparse.Namespace) -> None:
    """Fetches, unpacks and lays out a published data set."""
    from casvit_dense.data.prepare import PUBLISHED, prepare

    published = PUBLISHED[args.name]
    out = args.out or published.out

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    prepare(published, out, log, args.mirror, args.keep_archives)
    print(f"{published.title}: ready in {out}")
