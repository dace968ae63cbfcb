"""Look at, check and prepare data sets.

Exit code of check: 0: no error; 1: errors were found; 2: it could not be checked.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from casvit_dense.cli.arguments import file_to_write, folder_to_write, number_between, whole_number
from casvit_dense.cli.options import add_run_options, run_options
from casvit_dense.log import LOG
from casvit_dense.options import ABOUT_DATA

if TYPE_CHECKING:
    from casvit_dense.data.findings import Findings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_subparsers(metavar="TASK", required=True)
    check = tasks.add_parser("check", help="find every fault before a training does")
    check.add_argument("path", help="data folder, annotation file, description (.yaml) or config")
    check.add_argument("--deep", action="store_true", help="decode every image as a whole")
    check.add_argument("--json", type=file_to_write, metavar="FILE", help="write all findings")
    add_run_options(check, "check")
    check.add_argument(
        "--fix",
        type=folder_to_write,
        metavar="OUT",
        help="write a copy without these faults, and the list of its changes (changes.json); the "
        "exit code is then that of the copy",
    )
    check.set_defaults(run_task=run_check)
    describe = tasks.add_parser("describe", help="print what is understood of a data set")
    describe.add_argument("path", type=Path, help="data folder, annotation file or description")
    describe.add_argument(
        "--out", type=file_to_write, metavar="FILE", help="write it as a description (.yaml)"
    )
    add_run_options(describe, "describe")
    describe.set_defaults(run_task=run_describe)
    show = tasks.add_parser("show", help="write one HTML page of samples, figures and findings")
    show.add_argument("path", type=Path, help="data folder, annotation file, description or config")
    show.add_argument(
        "--n",
        type=whole_number(1),
        default=40,
        metavar="N",
        help="pictures (default %(default)s)",
    )
    show.add_argument(
        "--out",
        type=file_to_write,
        default="data.html",
        metavar="FILE",
        help="file to write (default %(default)s)",
    )
    show.add_argument(
        "--split",
        dest="part",
        choices=("train", "val", "test"),
        default="train",
        help="which part of the data (default %(default)s)",
    )
    add_run_options(show, "show")
    show.set_defaults(run_task=run_show)
    prepare = tasks.add_parser("prepare", help="fetch COCO or ADE20K to where the recipes look")
    prepare.add_argument("name", choices=("coco", "ade"), help="COCO 2017 (21 GB) or ADE20K (1 GB)")
    prepare.add_argument(
        "--out", type=folder_to_write, metavar="DIR", help="default: data/coco or data/ade"
    )
    prepare.add_argument("--mirror", metavar="URL", help="address of a folder with the archives")
    prepare.add_argument("--keep-archives", action="store_true", help="keep the zip files, too")
    prepare.set_defaults(run_task=run_prepare)
    subset = tasks.add_parser("subset", help="make a small set of a large one, all classes in it")
    subset.add_argument("path", type=Path, help="data folder, annotation file or description")
    subset.add_argument("out", type=folder_to_write, help="folder to make")
    size = subset.add_mutually_exclusive_group(required=True)
    size.add_argument(
        "--images", dest="count", type=whole_number(1), metavar="N", help="images of each split"
    )
    size.add_argument(
        "--share", type=number_between(0, 1), help="share of each split's images, e.g. 0.1"
    )
    add_run_options(subset, "subset")
    subset.set_defaults(run_task=run_subset)


def run(args: argparse.Namespace) -> int:
    code: int = args.run_task(args) or 0
    return code


@contextmanager
def log_shown() -> Iterator[None]:
    """Shows what long work says of itself beside the output."""
    handler = logging.StreamHandler()
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)


def say(line: str) -> None:
    """Shows progress beside the output."""
    print(line, file=sys.stderr, flush=True)


def run_check(args: argparse.Namespace) -> int:
    """Checks, prints and writes the findings."""
    from casvit_dense.data.checks.check import check_path
    from casvit_dense.data.copies import check_outside
    from casvit_dense.data.findings import Findings
    from casvit_dense.files import write_json

    _refuse_unused(args)
    if args.fix is not None:
        check_outside(args.fix, Path(args.path))
    findings = Findings()
    if Path(args.path).suffix == ".py":
        from casvit_dense.engine.check_data import check_config
        from casvit_dense.engine.console import quiet_console

        with quiet_console():
            check_config(Path(args.path), findings, args.data_root, args.deep)
    else:
        with log_shown():
            check_path(Path(args.path), findings, run_options(args), args.deep)
    if args.json is not None:
        write_json(args.json, findings.to_dict(), indent=2)
    _print_findings(findings)
    if args.fix is not None:
        return _fix(args)
    return 1 if findings.errors() else 0


def _refuse_unused(args: argparse.Namespace) -> None:
    """Refuses flags without effect: a config says itself which data it has, data say where."""
    from casvit_dense.errors import UserError

    if Path(args.path).suffix != ".py":
        if args.data_root is not None:
            raise UserError(f"--data-root is for a config (.py), and {args.path} is none")
        return
    names = (*ABOUT_DATA, "fix")
    given = [f"--{n.replace('_', '-')}" for n in names if getattr(args, n, None) is not None]
    if given:
        raise UserError(
            f"{', '.join(given)}: {args.path} is a config, which is checked as it is; leave it "
            "out, or give the folder of the data in place of the config"
        )


def _print_findings(findings: "Findings") -> None:
    """Prints findings, notes, the balance of each split, and how many there are."""
    from casvit_dense.data.checks.balance import balance
    from casvit_dense.progress import counted

    for found in findings.all():
        print("\n".join(found.lines()))
    for line in findings.notes:
        print(f"note: {line}")
    for name, facts in findings.splits.items():
        print(f"{name}: {balance(facts)}")
    errors, all_found = len(findings.errors()), len(findings.all())
    print(f"{counted(errors, 'error')}, {counted(all_found - errors, 'warning')}")


def _fix(args: argparse.Namespace) -> int:
    from casvit_dense.data.fixes.fix import CHANGES, fix
    from casvit_dense.data.layouts.describe import describe
    from casvit_dense.progress import counted

    changes = fix(describe(Path(args.path), run_options(args)), args.fix, say, args.deep)
    print("\n".join(changes.lines()))
    print(f"written: {args.fix} ({counted(len(changes.made), 'change')}, see {CHANGES} in it)")
    return 1 if changes.left.errors() else 0


def run_describe(args: argparse.Namespace) -> None:
    """Prints what was found, and writes it if asked."""
    from casvit_dense.data.description import write_description
    from casvit_dense.data.findings import Findings
    from casvit_dense.data.layouts.describe import describe
    from casvit_dense.data.layouts.summary import summarise
    from casvit_dense.progress import counted

    findings = Findings()
    description = describe(args.path, run_options(args), findings)
    print("\n".join(summarise(description, findings)))
    for line in findings.notes:
        print(f"note     {line}")
    if findings.all():
        kinds = counted(len(findings.all()), "kind")
        print(f"faults   of {kinds}; see casvit-dense data check {args.path}")
    if args.out is not None:
        write_description(description, args.out)
        print(f"written  {args.out}")


def run_show(args: argparse.Namespace) -> None:
    """Writes the page."""
    from casvit_dense.files import write_whole
    from casvit_dense.report.data.show import show

    with log_shown():
        page = show(args.path, args.part, say, args.n, run_options(args))
    write_whole(args.out, page)
    print(f"written: {args.out} ({len(page) / 1e6:.1f} MB)")


def run_prepare(args: argparse.Namespace) -> int:
    """Fetches, unpacks, lays out and checks a published data set."""
    from casvit_dense.data.checks.check import check_path
    from casvit_dense.data.findings import Findings
    from casvit_dense.data.prepare import PUBLISHED, prepare

    published = PUBLISHED[args.name]
    out = args.out or published.out
    prepare(published, out, say, args.mirror, args.keep_archives)
    say(f"{out}: is checked")
    findings = Findings()
    with log_shown():
        check_path(out, findings)
    _print_findings(findings)
    if findings.errors():
        return 1
    print(f"{published.title}: ready in {out}")
    return 0


def run_subset(args: argparse.Namespace) -> None:
    """Chooses images by seed and writes them with their truth."""
    from casvit_dense.data.copies import check_outside
    from casvit_dense.data.layouts.describe import describe
    from casvit_dense.data.subset import SubsetSize, subset

    check_outside(args.out, args.path)
    size = SubsetSize(args.count, args.share)
    description = describe(args.path, run_options(args))
    for line in subset(description, args.out, size, args.seed or 0, say):
        print(line)
