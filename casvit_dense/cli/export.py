"""Write a model as an ONNX, OpenVINO, CoreML or torch.export file, and compare it with torch."""

import argparse
from dataclasses import fields, replace
from pathlib import Path

from casvit_dense.cli.arguments import add_model, config_and_checkpoint, file_to_write
from casvit_dense.cli.options import add_run_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, exported=False)
    parser.add_argument(
        "--format",
        choices=("onnx", "openvino", "coreml", "torch-export"),
        default="onnx",
        help="default %(default)s",
    )
    parser.add_argument(
        "--part", choices=("backbone", "model"), default="model", help="default %(default)s"
    )
    parser.add_argument(
        "--input",
        dest="size",
        type=size,
        metavar="HxW",
        help="size to trace with (default: short side of the test pipeline's resizing, squared)",
    )
    parser.add_argument("--batch", type=int, default=1, help="images at once (backbone only)")
    parser.add_argument(
        "--dynamic",
        choices=("size", "none"),
        default="size",
        help="what stays open: height and width, or nothing (default %(default)s)",
    )
    parser.add_argument(
        "--out", type=file_to_write, help="file to write (default outputs/<config stem>.…)"
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    parser.add_argument(
        "--fuse",
        dest="fused",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="fold norms into convolutions first (default: yes)",
    )
    parser.add_argument(
        "--int8", choices=("dynamic", "static"), help="quantise (onnx only) and say what it costs"
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="FOLDER", help="images for --int8 static"
    )
    parser.add_argument("--data-root", metavar="DIR", help="folder of the data set")
    add_run_options(parser, "export")


def size(text: str) -> tuple[int, int]:
    """``HxW`` or one number for both, for argparse."""
    height, _, width = text.lower().partition("x")
    return int(height), int(width or height)


def run(args: argparse.Namespace) -> None:
    from casvit_dense.export.exporter import ExportOptions, export

    names = {option.name for option in fields(ExportOptions)}
    options = ExportOptions(**{key: value for key, value in vars(args).items() if key in names})
    config, checkpoint, _ = config_and_checkpoint(args)
    export(config, checkpoint, replace(options, dynamic=args.dynamic == "size"))
