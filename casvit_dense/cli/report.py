"""Write one HTML file of results: verdicts, costs, curves, analysis, pictures, commands.

It fetches nothing and opens from disk. Training logs beside a ledger are found by themselves.
"""

import argparse
import sys
import time
from pathlib import Path

from casvit_dense.cli.arguments import add_ledgers, file_to_write, folder_to_write, whole_number
from casvit_dense.files import DEFAULT_LEDGER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what goes in and where it goes."""
    add_ledgers(parser)
    parser.add_argument(
        "--speed",
        nargs="+",
        type=Path,
        default=[],
        metavar="LEDGER",
        help="further files of rows, of casvit-dense benchmark",
    )
    parser.add_argument(
        "--runs",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="folders below which training logs are looked for, too",
    )
    parser.add_argument(
        "--out",
        type=file_to_write,
        default="report.html",
        help="file to write (default %(default)s)",
    )
    parser.add_argument(
        "--images",
        type=whole_number(0),
        default=12,
        metavar="N",
        help="pictures of each model (default %(default)s; 0: none)",
    )
    parser.add_argument(
        "--tables",
        type=folder_to_write,
        metavar="DIR",
        help="also write the tables for papers here",
    )
    parser.add_argument(
        "--targets",
        type=Path,
        metavar="FILE",
        help="published figures (default: those that come with the package)",
    )
    parser.add_argument("--title", default="Published and measured", help="heading of the page")


def run(args: argparse.Namespace) -> None:
    """Writes the page and the tables."""
    from casvit_dense.files import write_whole
    from casvit_dense.report import build_report, write_tables
    from casvit_dense.results.targets import PUBLISHED

    started = time.monotonic()
    # Speeds alone make a report, too.
    without_ledger = args.speed and not DEFAULT_LEDGER.exists()
    ledgers = args.ledgers or ([] if without_ledger else [DEFAULT_LEDGER])
    report = build_report(
        ledgers,
        args.speed,
        args.runs,
        images=args.images,
        targets=args.targets or PUBLISHED,
        title=args.title,
        log=print,
    )
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    write_whole(args.out, report.html)
    size, seconds = len(report.html) / 1e6, time.monotonic() - started
    print(f"written: {args.out} ({size:.1f} MB, {seconds:.1f} s)")
    if args.tables:
        print(f"written: {len(write_tables(args.tables, report.tables))} tables in {args.tables}")
