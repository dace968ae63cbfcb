"""Convert a weight file of any known format to a clean one.

Reads official classification and dense files, those of the mmpretrain port, training checkpoints
and safetensors; writes tensors under the official names with their provenance.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Source, target and the choice of weights."""
    parser.add_argument("src", metavar="SRC", help="weight file to read")
    parser.add_argument("dst", metavar="DST", help="file to write: .pth or .safetensors")
    parser.add_argument("--ema", action="store_true", help="take the averaged weights (model_ema)")
    parser.add_argument("--force", action="store_true", help="replace DST if it exists")


def run(args: argparse.Namespace) -> None:
    """Converts and prints what was read and written."""
    from casvit_dense.checkpoint import convert

    print(convert(args.src, args.dst, ema=args.ema, force=args.force))
