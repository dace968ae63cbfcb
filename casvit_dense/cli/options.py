"""Flags that training and evaluation share."""

import argparse
import dataclasses
from pathlib import Path

from mmengine.config import DictAction

from casvit_dense.engine.options import RunOptions


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds the shared flags; spelling is mmdetection's."""
    parser.add_argument(
        "--work-dir", type=Path, metavar="DIR", help="default: work_dirs/<config stem>"
    )
    parser.add_argument("--data-root", metavar="DIR", help="folder of the data set")
    parser.add_argument("--seed", type=int, help="seed of every random generator")
    parser.add_argument("--deterministic", action="store_true", help="deterministic algorithms")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        default={},
        metavar="KEY=VALUE",
        help="override config values, e.g. train_cfg.max_epochs=1",
    )
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    # Launchers of old torch versions pass it; torchrun sets the environment instead.
    parser.add_argument("--local-rank", "--local_rank", type=int, help=argparse.SUPPRESS)


def run_options(args: argparse.Namespace) -> RunOptions:
    """The options that the flags of one command name; the others keep their defaults."""
    names = {option.name for option in dataclasses.fields(RunOptions)}
    return RunOptions(**{k: v for k, v in vars(args).items() if k in names})
