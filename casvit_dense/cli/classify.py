"""Name what images show: the five likeliest classes, or top-1 and top-5 of a folder of classes."""

import argparse
from pathlib import Path

from casvit_dense.cli.arguments import whole_number
from casvit_dense.files import CONFIG_SUFFIXES, config_folder


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
        "--size", type=whole_number(32), default=224, help="of the images (default %(default)s)"
    )
    parser.add_argument("--work-dir", type=Path, help="of an evaluation (default as for test)")


def run(args: argparse.Namespace) -> None:
    from casvit_dense.classification.classify import check_classifier, evaluation_config, top_lines
    from casvit_dense.classification.dataset import has_classes
    from casvit_dense.classification.weights import variant_of
    from casvit_dense.config.read import read_config
    from casvit_dense.engine.evaluate import evaluate
    from casvit_dense.options import RunOptions
    from casvit_dense.predictor.images import find_images

    path = Path(args.model)
    if path.suffix not in CONFIG_SUFFIXES:
        path = config_folder() / f"imagenet/casvit-{variant_of(args.model)}_8xb256_in1k.py"
    config = read_config(path)
    check_classifier(config)
    folder = Path(args.images[0])
    if len(args.images) == 1 and has_classes(folder):
        options = RunOptions(work_dir=args.work_dir, command=args.command)
        evaluate(evaluation_config(config, folder, args.size), args.weights, options)
        return
    for line in top_lines(config, args.weights, find_images(args.images), args.size):
        print(line)
