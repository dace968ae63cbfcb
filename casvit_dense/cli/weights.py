"""Say what a weight file is: format, variant, heads, averages, and RGB or BGR by some images."""

import argparse
import sys
from functools import partial
from pathlib import Path

from casvit_dense.cli.arguments import whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``inspect``."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    inspect = commands.add_parser("inspect", help="what is in a file")
    inspect.add_argument("file", metavar="FILE", help="weight file of any known format")
    inspect.add_argument(
        "images",
        nargs="*",
        metavar="IMAGES",
        help="images, or a folder with a folder for each class: which order of channels is surer",
    )
    inspect.add_argument("--ema", action="store_true", help="classify by the averaged weights")
    inspect.add_argument(
        "--size", type=whole_number(32), help="of the images (default as the file says, or 224)"
    )


def run(args: argparse.Namespace) -> None:
    from casvit_dense.classification.dataset import class_folders, has_classes, labelled_images
    from casvit_dense.classification.inspect import compare_orders, conclusion, inspect_file
    from casvit_dense.predictor.images import find_images

    for label, text in inspect_file(args.file):
        print(f"{label:<10} {text}")
    if not args.images:
        return
    images, labels = find_images(args.images), None
    root = Path(args.images[0])
    if len(args.images) == 1 and has_classes(root):
        pairs = labelled_images(root, class_folders(root))
        images, labels = [path for path, _ in pairs], [label for _, label in pairs]
    log = partial(print, file=sys.stderr)
    orders = compare_orders(args.file, images, labels, args.size, args.ema, log)
    for order in orders:
        right = "" if order.top1 is None else f", {order.top1:.1f} % right"
        print(f"{order.name:<10} mean probability {order.sureness:.3f}{right}")
    print(f"{'order':<10} {conclusion(orders)} ({len(images)} images)")
