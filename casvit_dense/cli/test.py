"""Evaluate a checkpoint: all COCO numbers, or mIoU, mAcc and aAcc."""

import argparse

from casvit_dense.cli.arguments import add_model, config_and_checkpoint
from casvit_dense.cli.options import add_run_options, run_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what evaluation takes."""
    add_model(parser)
    add_run_options(parser, "test")


def run(args: argparse.Namespace) -> None:
    """Evaluates."""
    from casvit_dense.engine.evaluate import evaluate

    config, checkpoint, _ = config_and_checkpoint(args)
    evaluate(config, checkpoint, run_options(args))
