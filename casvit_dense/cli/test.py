"""Evaluate a checkpoint: all COCO numbers, or mIoU, mAcc and aAcc."""

import argparse

from casvit_dense.cli.options import add_run_options, run_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what evaluation takes."""
    parser.add_argument("config", help="config file the checkpoint was trained with")
    parser.add_argument("checkpoint", help="checkpoint, ours or official, or an exported file")
    add_run_options(parser, "test")


def run(args: argparse.Namespace) -> None:
    """Evaluates."""
    from casvit_dense.engine.evaluate import evaluate

    evaluate(args.config, args.checkpoint, run_options(args))
