"""Train a model from a config file."""

import argparse

from casvit_dense.cli.options import add_run_options, run_options
from casvit_dense.options import AMP_DTYPES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what training takes."""
    parser.add_argument("config", help="config file, e.g. configs/retinanet/….py")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument(
        "--pretrained", metavar="FILE", help="weights of the backbone, in place of the config's"
    )
    weights.add_argument(
        "--from-scratch", action="store_true", help="no weights; BatchNorm of the backbone trains"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="resume from the newest checkpoint of the work directory, or from the one named",
    )
    parser.add_argument(
        "--amp",
        nargs="?",
        const="fp16",
        choices=tuple(AMP_DTYPES),
        help="mixed precision (GPU), fp16 without a value",
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate to the real global batch",
    )
    parser.add_argument(
        "--fold",
        choices=("time", "memory"),
        help="fold the backbone's fixed BatchNorm at each step: same gradients, for less time, or "
        "for less memory",
    )
    add_run_options(parser)


def run(args: argparse.Namespace) -> None:
    """Trains."""
    from casvit_dense.engine.train import train

    train(args.config, run_options(args))
