"""Compare two systems on the same images: differences with their 95 % intervals."""

import argparse
from dataclasses import asdict
from functools import partial
from pathlib import Path

from casvit_dense.cli.analyze import add_truth_options, source_of_files
from casvit_dense.cli.arguments import file_to_write, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = "folder of an evaluation (…/test); with --truth a results file, else a folder of maps"
    parser.add_argument("first", type=Path, metavar="A", help=what)
    parser.add_argument("second", type=Path, metavar="B", help="the same of the other system")
    add_truth_options(parser)
    parser.add_argument(
        "--resamples",
        type=whole_number(1),
        default=1000,
        help="draws of the images (default %(default)s)",
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, help="of the draws (default %(default)s)"
    )
    parser.add_argument(
        "--out", type=file_to_write, metavar="FILE", help="write everything as JSON"
    )


def run(args: argparse.Namespace) -> None:
    from casvit_dense.analysis import compare, compare_sources
    from casvit_dense.analysis.text import describe_comparison
    from casvit_dense.files import write_json

    log = partial(print, flush=True)
    if args.truth or args.truth_maps:
        first, second = (source_of_files(args, path) for path in (args.first, args.second))
        found = [compare_sources(first, second, args.resamples, args.seed, log)]
    else:
        found = compare(args.first, args.second, args.data_root, args.resamples, args.seed, log)
    print("\n\n\n".join(map(describe_comparison, found)))
    if args.out:
        write_json(args.out, {"comparisons": [asdict(one) for one in found]})
        print(f"\nwritten: {args.out}")
