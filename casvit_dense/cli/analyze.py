"""Say why saved predictions are wrong: error kinds, curves, confusion, calibration.

Reads what `test` has written, or any COCO results file or folder of index maps; needs no GPU.
"""

import argparse
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from casvit_dense.cli.arguments import file_to_write, number_between
from casvit_dense.errors import UserError

if TYPE_CHECKING:
    from casvit_dense.analysis.sources import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", nargs="*", type=Path, metavar="folder", help="of an evaluation (…/test)"
    )
    add_truth_options(parser)
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="COCO results file, with --truth"
    )
    parser.add_argument(
        "--maps", type=Path, metavar="DIR", help="predicted index maps, with --truth-maps"
    )
    parser.add_argument(
        "--score-thr",
        type=number_between(0, 1),
        help="least score of the detections in confusions and image scores (default: of best F1)",
    )
    parser.add_argument(
        "--out", type=file_to_write, metavar="FILE", help="write everything as JSON"
    )


def add_truth_options(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say where the truth is."""
    parser.add_argument(
        "--data-root", metavar="DIR", help="folder of the data set, if it was moved"
    )
    parser.add_argument("--truth", type=Path, metavar="FILE", help="COCO instances file")
    parser.add_argument(
        "--kind", choices=("bbox", "segm"), default="bbox", help="boxes or masks of a results file"
    )
    parser.add_argument("--truth-maps", type=Path, metavar="DIR", help="index maps of the truth")
    parser.add_argument(
        "--classes", metavar="FILE|N", help="of the maps: a file of names, or how many"
    )
    parser.add_argument(
        "--reduce-zero-label", action="store_true", help="0 is unlabelled, classes count from 1"
    )


def source_of_files(args: argparse.Namespace, predictions: Path) -> "Source":
    """Predictions with the truth that the flags name."""
    from casvit_dense.analysis.sources import CocoSource, map_source

    if args.truth and args.truth_maps:
        raise UserError("--truth is for boxes and masks, --truth-maps for maps; give one of them")
    if args.truth_maps:
        if not args.classes:
            raise UserError("--truth-maps needs --classes: how many, or a file of their names")
        return map_source(args.truth_maps, predictions, args.classes, args.reduce_zero_label)
    return CocoSource(str(predictions), args.kind, args.truth, predictions)


def run(args: argparse.Namespace) -> None:
    from casvit_dense.analysis import analyse, analyse_source
    from casvit_dense.analysis.text import describe
    from casvit_dense.files import write_json

    files = args.predictions or args.maps
    if bool(args.folders) == bool(files) or (args.predictions and args.maps):
        raise UserError("give folders of evaluations, or --predictions, or --maps")
    if bool(args.predictions) != bool(args.truth) or bool(args.maps) != bool(args.truth_maps):
        raise UserError("--predictions needs --truth, --maps needs --truth-maps")
    log = partial(print, flush=True)
    if files:
        found = [analyse_source(source_of_files(args, files), args.score_thr, log)]
    else:
        found = [analyse(f, args.data_root, args.score_thr, log) for f in args.folders]
    print("\n\n\n".join(describe(analysis) for analysis in found))
    if args.out:
        write_json(args.out, {"analyses": [asdict(one) for one in found]})
        print(f"\nwritten: {args.out}")
