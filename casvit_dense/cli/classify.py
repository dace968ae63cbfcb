"""Name what images show: the five likeliest classes, or top-1 and top-5 of a folder of classes."""

import argparse
import sys
from functools import partial
from pathlib import Path

from casvit_dense.cli.arguments import whole_number
from casvit_dense.files import CONFIG_SUFFIXES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds model, weights and images."""
    parser.add_argument("model", metavar="NAME|CONFIG", help="such as casvit-xs, or a config")
    parser.add_argument("weights", metavar="WEIGHTS", help="classification file of any format")
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="images, or one folder with a folder for each class, which is evaluated (by several "
        "processes: casvit-dense test CONFIG WEIGHTS --data-root DIR)",
    )
    parser.add_argument(
        "--size",
        type=whole_number(32),
        help="of the images (default the config's; by NAME as the weights say, or 224)",
    )
    parser.add_argument("--work-dir", type=Path, help="of an evaluation (default as for test)")


def run(args: argparse.Namespace) -> None:
    from casvit_dense.classification.classify import (
        check_classifier,
        config_of,
        crop_size,
        evaluation_config,
        top_lines,
    )
    from casvit_dense.classification.dataset import has_classes
    from casvit_dense.classification.files import read_classifier, size_for
    from casvit_dense.classification.weights import variant_of
    from casvit_dense.config.read import read_config
    from casvit_dense.engine.evaluate import evaluate
    from casvit_dense.options import RunOptions
    from casvit_dense.predictor.images import find_images

    if Path(args.model).suffix in CONFIG_SUFFIXES:
        config = read_config(args.model)
        check_classifier(config)
        size = args.size or crop_size(config)
    else:
        arch = variant_of(args.model)
        size = args.size or size_for(read_classifier(args.weights))
        config = read_config(config_of(arch, size))
    folder = Path(args.images[0])
    if len(args.images) == 1 and has_classes(folder):
        options = RunOptions(work_dir=args.work_dir, command=args.command)
        evaluate(evaluation_config(config, folder, size), args.weights, options)
        return
    log = partial(print, file=sys.stderr)
    for line in top_lines(config, args.weights, find_images(args.images), size, log):
        print(line)
