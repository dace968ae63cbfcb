"""Measure speed, memory and operation counts of networks, side by side."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from casvit_dense.benchmark.cases import (
    BACKENDS,
    DTYPES,
    FORMS,
    MEMORY_FORMATS,
    MODES,
    PARTS,
    BenchmarkCase,
    parse_size,
    parse_spec,
    possible,
    product,
)
from casvit_dense.cli.options import add_ledger
from casvit_dense.errors import UserError
from casvit_dense.files import DEFAULT_LEDGER

if TYPE_CHECKING:
    from casvit_dense.benchmark.group import Settings

#: What tells two rows of a mode apart, beside the machine.
DATA_KEYS = {
    "data": ("config", "decoder", "step", "images", "batch", "workers"),
    "eval": ("kind", "backend", "phase", "images", "categories", "detections", "seed"),
}
HOW = {"rounds", "threads", "no_memory"}
#: Arguments that mean something in a kind of run; in those not listed here, all but --data-root.
EFFECTIVE = {
    "--page": {"page"},
    "--suite": {"suite", "out", "again", "ledger", *HOW},
    "--compare": {"compare", "models", "part", "mode", "sizes", "batch", "dtype", "device", *HOW},
    "--mode data": {"mode", "models", "data_root", "out"},
    "--mode eval": {"mode", "out"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what can be measured, and how."""
    parser.add_argument(
        "models",
        nargs="*",
        metavar="model",
        help="casvit-xs, -s, -m, -t (the backbone alone) or a config file",
    )
    parser.add_argument(
        "--suite", choices=("cpu", "gpu", "paper"), help="all that docs/speed shows"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="rewrite this page's tables and charts; no timing"
    )
    what = parser.add_argument_group("what is measured (of several values, every combination)")
    what.add_argument("--part", choices=PARTS, nargs="+", default=["backbone"])
    what.add_argument("--mode", choices=(*MODES, *DATA_KEYS), default="infer")
    form = what.add_mutually_exclusive_group()
    form.add_argument("--form", choices=FORMS, nargs="+", default=["reference", "fused"])
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
    how.add_argument("--out", type=Path, metavar="FILE.csv", help="add the rows to this file")
    add_ledger(parser, f"default: {DEFAULT_LEDGER}", DEFAULT_LEDGER)
    how.add_argument("--again", action="store_true", help="measure rows that are there already")
    data = parser.add_argument_group("--mode data")
    data.add_argument("--data-root", metavar="DIR", help="folder of the data set")


def run(args: argparse.Namespace) -> int:
    """Measures, compares or writes the page. Exit code 1: something failed to be measured."""
    from casvit_dense.benchmark.machine import KEYS
    from casvit_dense.benchmark.page import write_page
    from casvit_dense.benchmark.rows import Ledger, append_speed, check_place
    from casvit_dense.benchmark.run import Benchmark

    check(args)
    if args.page is not None:
        count = len(write_page(args.page))
        say(f"{count} table{'s' * (count != 1)} rewritten in {args.page}")
        return 0
    if args.mode in DATA_KEYS:
        return measure_data(args)
    cases, notes = wanted(args)
    for note in notes:
        print(note)
    benchmark = Benchmark(Ledger(args.out, KEYS), settings_of(args), say)
    if not args.compare:
        check_place(args.ledger)
        benchmark.record = partial(append_speed, args.ledger, command=args.command)
    timed = benchmark.run(cases, alone=bool(args.compare))
    if args.compare:
        from casvit_dense.benchmark.group import verdict

        for group in timed:
            print(verdict(group, *group.cases))
    return exit_code(benchmark.failures)


def exit_code(failures: int) -> int:
    """1 where something failed to be measured, which is said; 0 otherwise."""
    if failures:
        print(f"{failures} failed; their rows say why")
    return 1 if failures else 0


def say(line: str) -> None:
    """Prints a line at once, also into a file or a pipe."""
    print(line, flush=True)


def check(args: argparse.Namespace) -> None:
    """Refuses what cannot be meant.

    Raises:
        UserError: with what and why.
    """
    import torch

    refuse_idle(args)
    for flag, values in (("--rounds", [args.rounds]), ("--batch", args.batch)):
        if min(values) < 1:
            raise UserError(f"{flag} {min(values)}: give 1 or more")
    if args.threads is not None and args.threads < 1:
        raise UserError(f"--threads {args.threads}: give 1 or more")
    if (args.device == "cuda" or args.suite == "gpu") and not torch.cuda.is_available():
        raise UserError("torch sees no GPU on this machine; measure with --device cpu")
    if args.compare and (args.mode not in ("infer", "train") or len(args.dtype) > 1):
        raise UserError("--compare times two cases: give --mode infer or train, and one --dtype")


def refuse_idle(args: argparse.Namespace) -> None:
    """Refuses arguments that would change nothing.

    Raises:
        UserError: names them and what makes them idle.
    """
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    usual = vars(parser.parse_args([]))
    given = {name for name, value in usual.items() if getattr(args, name) != value}
    kinds = [f"--{name}" for name in ("page", "suite", "compare") if name in given]
    kind = next(iter(kinds), f"--mode {args.mode}")
    if idle := sorted(given - EFFECTIVE.get(kind, usual.keys() - {"data_root"})):
        names = ("MODEL" if name == "models" else f"--{name.replace('_', '-')}" for name in idle)
        raise UserError(f"{kind} makes no use of {', '.join(names)}; leave that out")


def settings_of(args: argparse.Namespace) -> "Settings":
    """How the run measures."""
    from casvit_dense.benchmark.group import Settings

    settings = Settings(rounds=args.rounds, again=args.again, memory=not args.no_memory)
    return replace(settings, threads=args.threads) if args.threads else settings


def wanted(args: argparse.Namespace) -> tuple[list[BenchmarkCase], list[str]]:
    """The cases that the flags name, and notes about impossible ones.

    Raises:
        UserError: a flag cannot be understood, or nothing is left.
    """
    if args.suite:
        from casvit_dense.benchmark.cases import suite

        return suite(args.suite), []
    if not args.models:
        raise UserError("name a model (casvit-xs, a config) or a --suite")
    check_configs(args.models)
    shared = {
        "model": args.models,
        "part": args.part,
        "mode": [args.mode],
        "size": [parse_size(text) for text in args.sizes],
        "batch": args.batch,
        "device": [args.device],
    }
    if args.compare:
        return pairs(product(**shared, dtype=args.dtype[:1]), args.compare), []
    return possible(
        product(
            **shared,
            form=args.form,
            backend=args.backend,
            dtype=args.dtype,
            memory_format=args.memory_format,
        )
    )


def check_configs(models: Sequence[str]) -> None:
    """Reads the configs among the models: what is wrong with one is no failed measurement.

    Raises:
        UserError: one cannot be read or has no model.
    """
    from casvit_dense.engine.config import resolve
    from casvit_dense.options import RunOptions

    for model in models:
        if model.endswith(".py"):
            resolve(model, RunOptions())


def pairs(bases: list[BenchmarkCase], specs: list[str]) -> list[BenchmarkCase]:
    """For each base, the two cases that ``--compare`` names.

    Raises:
        UserError: one of them cannot exist, or both are the same.
    """
    found = []
    for base in bases:
        two = [parse_spec(text, base) for text in specs]
        obstacle = two[0].unsupported_reason() or two[1].unsupported_reason()
        if obstacle or two[0] == two[1]:
            raise UserError(f"--compare {' '.join(specs)}: {obstacle or 'both are the same'}")
        found += two
    return found


def measure_data(args: argparse.Namespace) -> int:
    """Loading of each config's images, or evaluation of generated detections, row by row."""
    from casvit_dense.benchmark.group import reason_of
    from casvit_dense.benchmark.machine import machine_condition, now
    from casvit_dense.benchmark.rows import Ledger, text_of

    shared = {"mode": args.mode, **machine_condition("cpu")}
    ledger = Ledger(args.out, (*shared, *DATA_KEYS[args.mode]))
    jobs = data_jobs(args)
    failures = 0
    for about, job in jobs:
        try:
            rows = job()
        except UserError:
            raise
        except Exception as error:  # the other configs are worth their time
            rows = [{**about, "error": reason_of(error)}]
        for row in rows:
            say("  ".join(f"{name} {text_of(value)}" for name, value in row.items()))
        failures += sum(bool(row.get("error")) for row in rows)
        ledger.put([{**shared, "date": now(), **row} for row in rows])
    return exit_code(failures)


Job = Callable[[], list[dict[str, Any]]]


def data_jobs(args: argparse.Namespace) -> list[tuple[dict[str, str], Job]]:
    """What to measure, each with the columns that name it.

    Raises:
        UserError: no config is named, or one or its data are not as they should be.
    """
    if args.mode == "eval":
        from casvit_dense.benchmark.evaluation import measure_evaluation

        return [
            ({"kind": kind}, partial(measure_evaluation, kinds=(kind,)))
            for kind in ("bbox", "segm")
        ]
    from casvit_dense.benchmark.loading import check_loading, measure_loading
    from casvit_dense.options import RunOptions

    if not args.models:
        raise UserError("--mode data: name a config, whose images are loaded")
    missing = [config for config in args.models if not Path(config).is_file()]
    if missing:
        raise UserError(f"no config file {', '.join(missing)}")
    options = RunOptions(data_root=args.data_root)
    for config in args.models:  # all of them before the first is measured
        check_loading(config, options)
    return [
        ({"config": Path(config).stem}, partial(measure_loading, config, options))
        for config in args.models
    ]
