"""Train and evaluate three small models on generated data: no download, minutes on two cores.

Exit code 0: all reached the expected accuracy; 1: at least one did not; 2: bad input.
"""

import argparse
import time
from pathlib import Path

from casvit_dense.zoo import DEMO_MODELS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the demo takes."""
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/demo"), help="result folder (%(default)s)"
    )
    parser.add_argument(
        "--data-root",
        type=Path,
        default=Path("data/shapes"),
        help="generated data set, made if it is not there (%(default)s)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=("data", *DEMO_MODELS),
        default=tuple(DEMO_MODELS),
        help="train some of the models; data: make the pictures alone",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the demo."""
    from casvit_dense.demo import run_demo, summary

    started = time.monotonic()
    names = [name for name in args.only if name != "data"]
    results = run_demo(args.out, args.data_root, names)
    if not names:
        return 0
    print("\n".join(summary(results, time.monotonic() - started)))
    return int(not all(result.reached for result in results))
