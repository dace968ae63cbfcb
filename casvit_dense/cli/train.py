"""Train a model from a config file."""

import argparse

from casvit_dense.cli.options import add_run_options, run_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what training takes."""
    parser.add_argument("config", help="config file, e.g. configs/retinanet/….py")
    add_run_options(parser, "train")


def run(args: argparse.Namespace) -> None:
    """Trains."""
    from casvit_dense.engine.train import train

    train(args.config, run_options(args))
