"""Compare evaluations with published figures: within tolerance, above, below, or why neither.

Exit code 0: every figure that was run is within its tolerance or above; 1: one is below, or not
comparable (with --require-all: or not run); 2: bad input.
"""

import argparse
import sys
from pathlib import Path

from casvit_dense.cli.arguments import add_ledgers, file_to_write
from casvit_dense.errors import UserError
from casvit_dense.files import DEFAULT_LEDGER, write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the ledgers and what they are compared with."""
    add_ledgers(parser)
    parser.add_argument(
        "--targets",
        type=Path,
        metavar="FILE",
        help="published figures (default: those that come with the package)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="STEM",
        default=[],
        help="configs to look at; * stands for anything",
    )
    parser.add_argument(
        "--json", type=file_to_write, metavar="FILE", help="also write the findings here"
    )
    parser.add_argument(
        "--require-all", action="store_true", help="figures that were not run fail, too"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the findings."""
    from casvit_dense.results.ledger import read_ledgers
    from casvit_dense.results.row import Evaluation
    from casvit_dense.results.targets import PUBLISHED, read_targets
    from casvit_dense.results.verify import as_json, as_text, exit_code, select, verify

    targets = read_targets(args.targets or PUBLISHED)
    ledgers = args.ledgers or [DEFAULT_LEDGER]
    rows, rejected = read_ledgers(ledgers)
    if rejected and not rows:
        raise UserError(f"there is no row in {', '.join(map(str, ledgers))}; {rejected[0]}")
    for line in rejected:
        print(f"warning: {line}", file=sys.stderr)
    findings = select(verify(rows, targets), args.only)
    print(as_text(findings, all_lines=bool(args.only or args.require_all)))
    configs = dict.fromkeys(row.config for row in rows if isinstance(row, Evaluation))
    others = [stem for stem in configs if targets.of_config(stem) is None]
    if others and not args.only:
        print(f"evaluated without a published figure: {', '.join(others)}")
    if args.json is not None:
        write_json(args.json, as_json(findings), indent=2)
    return exit_code(findings, args.require_all)
