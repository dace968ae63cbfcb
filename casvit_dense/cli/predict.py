"""Predict on images: drawings and machine-readable results.

Exit code 0: every image was predicted; 1: some were skipped; 2: bad input, nothing was done.
"""

import argparse
from pathlib import Path

from casvit_dense.cli.arguments import (
    add_model,
    config_and_checkpoint,
    folder_to_write,
    number_between,
)
from casvit_dense.cli.options import add_run_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "inputs", nargs="+", metavar="input", help="image, folder (searched in depth) or pattern"
    )
    parser.add_argument(
        "--out", type=folder_to_write, help="result folder (default outputs/<config stem>)"
    )
    parser.add_argument(
        "--score-thr",
        type=number_between(0, 1),
        default=0.3,
        help="leave out detections of lower score (default %(default)s)",
    )
    parser.add_argument(
        "--data-root", metavar="DIR", help="folder of the data set, whose category ids are used"
    )
    parser.add_argument("--no-pictures", action="store_true", help="write data, draw nothing")
    parser.add_argument("--device", help="e.g. cpu or cuda:1 (default: the GPU if there is one)")
    add_run_options(parser, "predict")


def run(args: argparse.Namespace) -> int:
    from casvit_dense.config.kept import model_config
    from casvit_dense.engine.console import quiet_console
    from casvit_dense.predictor import Predictor, find_images, predict_files

    given, checkpoint, inputs = config_and_checkpoint(args)
    with quiet_console():
        config = model_config(given, checkpoint, args.trusted_configs_only, args.backbone)
    folder = args.out or Path("outputs", Path(config.filename).stem)
    files = find_images(inputs, exclude=folder)
    with quiet_console():
        predictor = Predictor(
            config, checkpoint, args.device, args.cfg_options, args.data_root, args.fuse
        )
    print(
        f"weights {checkpoint} (sha256 {predictor.weights_sha256[:12]}), "
        f"{len(predictor.labels.names)} classes, on {predictor.device}"
    )
    summary = predict_files(predictor, files, folder, args.score_thr, not args.no_pictures)
    print(
        f"predicted {summary.predicted} images ({summary.skipped} skipped) in {folder}, "
        f"{summary.seconds_per_image:.2f} s/image"
    )
    return 1 if summary.skipped else 0
