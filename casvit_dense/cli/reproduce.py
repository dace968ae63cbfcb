"""Train and evaluate every recipe, resumable: the whole plan, its time, its results.

Exit code 0: every run has its row; 1: some have not; 75: a step was stopped, and the same command
goes on; 2: bad input; 130: interrupted.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from casvit_dense.cli.arguments import positive_number, whole_number
from casvit_dense.cli.options import add_ledger
from casvit_dense.files import WORK_DIRS

LAUNCHERS = ("none", "torchrun", "slurm")
DEFAULT_GPUS = {"none": 1, "torchrun": 8, "slurm": 8}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the plan and its settings."""
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="STEM", help="names of configs, or patterns"
    )
    parser.add_argument(
        "--seeds", type=whole_number(1), metavar="N", help="seeds 0 to N-1 (default: 1)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="report what would run and how long; write nothing"
    )
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none")
    parser.add_argument(
        "--gpus", type=whole_number(1), metavar="N", help="GPUs of each run (1; 8 with a launcher)"
    )
    parser.add_argument(
        "--data-root",
        nargs="+",
        type=pair(str),
        default=[],
        metavar="NAME=DIR",
        help="folders of the data sets: coco=DIR ade20k=DIR",
    )
    parser.add_argument(
        "--pretrained", type=Path, metavar="DIR", help="folder of the weight files (pretrained)"
    )
    parser.add_argument(
        "--backbone", metavar="NAME", help="another backbone in every recipe, see docs/backbones.md"
    )
    parser.add_argument(
        "--work-dirs",
        type=Path,
        default=WORK_DIRS,
        metavar="DIR",
        help="runs lie below it (%(default)s)",
    )
    add_ledger(parser, "default: results.jsonl in --work-dirs")
    parser.add_argument(
        "--plan",
        type=Path,
        metavar="FILE",
        help="other models: YAML or JSON, see docs/reproduce.md",
    )
    parser.add_argument(
        "--step-time",
        nargs="+",
        type=pair(positive_number),
        default=[],
        metavar="STEM=SECONDS",
        help="of a training step, for the estimate",
    )


def pair(kind: Callable[[str], Any]) -> Callable[[str], tuple[str, Any]]:
    """Reads ``NAME=VALUE``, for argparse."""

    def read(text: str) -> tuple[str, Any]:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=VALUE")
        return name, kind(value)

    return read


def run(args: argparse.Namespace) -> int:
    """Runs the plan, or reports what it would do."""
    from casvit_dense.reproduce.plan import (
        Settings,
        choose,
        read_plan,
        with_backbone,
        with_seeds,
        zoo_plan,
    )
    from casvit_dense.reproduce.run import reproduce, show

    plan = read_plan(args.plan) if args.plan is not None else zoo_plan()
    plan = with_backbone(with_seeds(choose(plan, args.only), args.seeds), args.backbone)
    settings = Settings(
        work_dirs=args.work_dirs,
        ledger=args.ledger,
        data_roots=dict(args.data_root),
        pretrained=args.pretrained,
        launcher=args.launcher,
        gpus=args.gpus or DEFAULT_GPUS[args.launcher],
        step_times=dict(args.step_time),
    )
    log = partial(print, flush=True)  # a plan runs for days, and its output mostly goes to a file
    if args.dry_run:
        show(plan, settings, log)
        return 0
    return reproduce(plan, settings, log)
