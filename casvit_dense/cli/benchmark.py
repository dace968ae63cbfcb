"""Measure speed, memory and operation counts of networks, side by side."""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from casvit_dense.benchmark.cases import (
    BACKENDS,
    DTYPES,
    FORMS,
    INFERENCE_FORMS,
    MEMORY_FORMATS,
    MODES,
    PARTS,
    SUITES,
    BenchmarkCase,
    pairs,
    parse_size,
    product,
    suite,
    supported,
)
from casvit_dense.cli.arguments import file_to_write
from casvit_dense.cli.options import add_ledger
from casvit_dense.errors import UserError
from casvit_dense.files import DEFAULT_LEDGER, check_writable

#: Modes that measure no network, with the kind of their rows.
DATA_MODES = {"data": "loading", "eval": "evaluator"}
HOW = {"rounds", "threads", "no_memory"}
WHERE = {"ledger", "csv"}
#: Arguments that mean something in a kind of run; in those not listed here, all but --data-root.
EFFECTIVE = {
    "--page": {"page"},
    "--import-csv": {"import_csv", "ledger"},
    "--suite": {"suite", "again", *HOW, *WHERE},
    "--compare": {"compare", "models", "part", "mode", "sizes", "batch", "dtype", "device", *HOW},
    "--mode data": {"mode", "models", "data_root", *WHERE},
    "--mode eval": {"mode", *WHERE},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what can be measured, and how."""
    parser.add_argument(
        "models",
        nargs="*",
        metavar="model",
        help="casvit-xs, -s, -m, -t or timm:NAME (the backbone alone), or a config file",
    )
    parser.add_argument("--suite", choices=tuple(SUITES), help="all that docs/speed shows")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="rewrite this page's tables and charts; no timing"
    )
    what = parser.add_argument_group("what is measured (of several values, every combination)")
    what.add_argument("--part", choices=PARTS, nargs="+", default=["backbone"])
    what.add_argument("--mode", choices=(*MODES, *DATA_MODES), default="infer")
    form = what.add_mutually_exclusive_group()
    form.add_argument("--form", choices=FORMS, nargs="+", default=list(INFERENCE_FORMS))
    form.add_argument(
        "--fuse",
        action="store_const",
        const=["fused"],
        dest="form",
        default=argparse.SUPPRESS,
        help="short for --form fused",
    )
    what.add_argument("--backend", choices=BACKENDS, nargs="+", default=["eager"])
    what.add_argument(
        "--sizes", nargs="+", default=["512"], metavar="SIZE", help="512, or 800x1280: height first"
    )
    what.add_argument("--batch", nargs="+", type=int, default=[1], metavar="N")
    what.add_argument("--dtype", choices=DTYPES, nargs="+", default=["fp32"])
    what.add_argument("--memory-format", choices=MEMORY_FORMATS, nargs="+", default=["default"])
    what.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    what.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="two cases, e.g. form=reference,backend=eager form=fused,backend=openvino; "
        "prints how they compare and writes no rows",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--rounds", type=int, default=9, help="timed turns (default %(default)s)")
    how.add_argument("--threads", type=int, help="CPU threads of all backends (default: torch's)")
    how.add_argument("--no-memory", action="store_true", help="leave out peak memory")
    add_ledger(
        parser, f"default: {DEFAULT_LEDGER}; what it holds is not measured again", DEFAULT_LEDGER
    )
    how.add_argument("--again", action="store_true", help="measure rows that are there already")
    how.add_argument(
        "--csv",
        type=file_to_write,
        metavar="FILE",
        help="then write the ledger's rows of this kind as CSV",
    )
    how.add_argument(
        "--import-csv",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="add the rows of CSV files of version 0.1 to the ledger; no timing",
    )
    data = parser.add_argument_group("--mode data")
    data.add_argument("--data-root", metavar="DIR", help="folder of the data set")


def run(args: argparse.Namespace) -> int:
    """Measures, compares, converts or writes the page. Exit code 1: a measurement failed."""
    check(args)
    if args.page is not None:
        from casvit_dense.benchmark.page import write_page

        count = len(write_page(args.page))
        print(f"{count} table{'s' * (count != 1)} rewritten in {args.page}")
        return 0
    if args.import_csv:
        from casvit_dense.benchmark.csv_files import read_csv_0_1
        from casvit_dense.results.ledger import replace_rows

        rows = [row for file in args.import_csv for row in read_csv_0_1(file)]
        replace_rows(args.ledger, rows)
        print(f"{len(rows)} rows added to {args.ledger}")
        return 0
    exports_alone = args.csv and not args.models and not args.suite and args.mode != "eval"
    failures = 0 if exports_alone else measure(args)
    if args.csv:
        export_csv(args.ledger, DATA_MODES.get(args.mode, "speed"), args.csv)
    if failures:
        print(f"{failures} failed; their rows say why")
    return 1 if failures else 0


def measure(args: argparse.Namespace) -> int:
    """Measures what the flags name; returns how many measurements failed."""
    from casvit_dense.benchmark.group import Settings
    from casvit_dense.benchmark.run import Benchmark, run_jobs

    log = partial(print, flush=True)  # at once, also into a file or a pipe
    if args.mode in DATA_MODES:
        from casvit_dense.benchmark.evaluation import evaluator_jobs
        from casvit_dense.benchmark.loading import loading_jobs

        jobs = (
            evaluator_jobs() if args.mode == "eval" else loading_jobs(args.models, args.data_root)
        )
        check_writable(args.ledger)
        return run_jobs(jobs, args.ledger, log, args.command)
    cases, notes = requested_cases(args)
    for note in notes:
        print(note)
    settings = Settings(rounds=args.rounds, again=args.again, memory=not args.no_memory)
    if args.threads:
        settings = replace(settings, threads=args.threads)
    ledger = None if args.compare else args.ledger
    benchmark = Benchmark(ledger, settings, log, args.command)
    timed = benchmark.run(cases, alone=bool(args.compare))
    if args.compare:
        for group in timed:
            print(group.verdict(*group.cases))
    return benchmark.failures


def export_csv(ledger: Path, kind: str, target: Path) -> None:
    """Writes all rows of a kind as CSV."""
    from casvit_dense.benchmark.csv_files import csv_text
    from casvit_dense.files import write_whole
    from casvit_dense.results.ledger import read_ledger
    from casvit_dense.results.row import Evaluation

    found, rejected = read_ledger(ledger)
    for line in rejected:
        print(f"warning: {line}")
    rows = [row for row in found if not isinstance(row, Evaluation) and row.kind == kind]
    write_whole(target, csv_text(rows).encode())
    print(f"{len(rows)} rows written to {target}")


def check(args: argparse.Namespace) -> None:
    """Refuses flags that contradict each other or this machine."""
    reject_unused_flags(args)
    threads = 1 if args.threads is None else args.threads
    numbers = {"--rounds": args.rounds, "--batch": min(args.batch), "--threads": threads}
    for flag, number in numbers.items():
        if number < 1:
            raise UserError(f"{flag} {number}: give 1 or more")
    if args.compare and (args.mode not in ("infer", "train") or len(args.dtype) > 1):
        raise UserError("--compare times two cases: give --mode infer or train, and one --dtype")
    if args.device == "cuda" or args.suite == "gpu":
        import torch

        if not torch.cuda.is_available():
            raise UserError("torch sees no GPU on this machine; measure with --device cpu")


def reject_unused_flags(args: argparse.Namespace) -> None:
    """Refuses arguments that would change nothing, by name."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    defaults = vars(parser.parse_args([]))
    given = {name for name, value in defaults.items() if getattr(args, name) != value}
    names = {name: f"--{name.replace('_', '-')}" for name in defaults} | {"models": "MODEL"}
    kinds = [names[n] for n in ("page", "import_csv", "suite", "compare") if n in given]
    kind = next(iter(kinds), f"--mode {args.mode}")
    allowed = EFFECTIVE.get(kind, defaults.keys() - {"data_root"})
    if unused := sorted(given - allowed):
        raise UserError(
            f"{kind} makes no use of {', '.join(names[n] for n in unused)}; leave it out"
        )


def requested_cases(args: argparse.Namespace) -> tuple[list[BenchmarkCase], list[str]]:
    """The cases that the flags name, and notes about those that this machine cannot measure."""
    from casvit_dense.benchmark.networks import check_configs

    if args.suite:
        return supported(suite(args.suite))
    if not args.models:
        raise UserError("name a model (casvit-xs, a config) or a --suite")
    check_configs(args.models)
    cases = product(
        model=args.models,
        part=args.part,
        mode=[args.mode],
        size=[parse_size(text) for text in args.sizes],
        batch=args.batch,
        device=[args.device],
        form=["reference"] if args.compare else args.form,
        backend=args.backend,
        dtype=args.dtype,
        memory_format=args.memory_format,
    )
    return (pairs(cases, args.compare), []) if args.compare else supported(cases)
