"""Evaluate a checkpoint: all COCO numbers, or mIoU, mAcc and aAcc."""

import argparse

from casvit_dense.cli.options import FUSE_HELP, add_ledger, add_run_options, run_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what evaluation takes."""
    parser.add_argument("config", help="config file the checkpoint was trained with")
    parser.add_argument("checkpoint", help="checkpoint, ours or official, or an exported file")
    parser.add_argument("--classwise", action="store_true", help="print every class")
    parser.add_argument("--fuse", action="store_true", help=FUSE_HELP)
    add_ledger(parser, "default: results.jsonl beside the work directory")
    add_run_options(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluates."""
    from casvit_dense.engine.evaluate import evaluate

    evaluate(args.config, args.checkpoint, run_options(args))
