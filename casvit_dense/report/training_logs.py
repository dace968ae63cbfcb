"""Training logs: where they lie, and the curves in them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from casvit_dense.errors import UserError
from casvit_dense.evaluations import LOGS, SEED_PREFIX
from casvit_dense.files import json_lines

#: Points of one curve.
POINTS = 300

#: Clocks and counters, which are not curves.
LEFT_OUT = {"time", "data_time", "eta", "memory", "rss", "rss_workers", "epoch", "iter", "step"}

Curve = tuple[list[float], list[float]]


def find_logs(work_dir_parents: Iterable[Path], runs: Iterable[Path]) -> dict[str, Path]:
    """Training logs by name of their run: its folder, with the start's date if there are several.

    They lie in the work directories in ``work_dir_parents``, in those of further seeds inside
    these, or anywhere below ``runs``.

    Raises:
        UserError: one of ``runs`` is not a folder.
    """
    found: list[Path] = []
    for parent in work_dir_parents:
        found += sorted([*parent.glob(f"*/{LOGS}"), *parent.glob(f"*/{SEED_PREFIX}*/{LOGS}")])
    for folder in runs:
        if not folder.is_dir():
            raise UserError(f"no folder {folder} to look for training logs in")
        found += sorted(folder.rglob(LOGS))
    paths = list(dict.fromkeys(path.resolve() for path in found))
    return dict(zip(_short_names(paths), paths, strict=True))


def _short_names(logs: Sequence[Path]) -> list[str]:
    """The shortest names that are all different."""
    runs = [(log.parents[2], log.parents[1].name) for log in logs]
    names = [_run_name(run) for run, _ in runs]
    dated = [f"{name}, {start}" for name, (_, start) in zip(names, runs, strict=True)]
    longer = [f"{run.parent.name}/{run.name}, {start}" for run, start in runs]
    short = (kind for kind in (names, dated, longer) if len(set(kind)) == len(kind))
    return next(short, [f"{run}, {start}" for run, start in runs])


def _run_name(run: Path) -> str:
    """The folder's name; a further seed's with that of its parent."""
    return f"{run.parent.name}/{run.name}" if run.name.startswith(SEED_PREFIX) else run.name


def read_curves(log: Path) -> dict[str, Curve]:
    """Curves of one run: iterations and values by name of the scalar.

    At most `POINTS`, evenly picked, always with the last one. Validation of runs that count epochs
    stands at the epoch's last logged iteration. Lines that are not JSON (the last of a killed run)
    or have no iteration, and values that are not finite numbers, are left out.
    """
    curves: dict[str, Curve] = {}
    last_of_epoch: dict[float, float] = {}
    for line in json_lines(log):
        at = _iteration(line, last_of_epoch)
        if at is None:
            continue
        for name, value in line.items():
            if name not in LEFT_OUT and (number := _finite(value)) is not None:
                xs, ys = curves.setdefault(name, ([], []))
                xs.append(at)
                ys.append(float(f"{number:.4g}"))
    return {name: (downsample(xs), downsample(ys)) for name, (xs, ys) in curves.items()}


def _iteration(line: Mapping[str, Any], last_of_epoch: dict[float, float]) -> float | None:
    """The iteration that a line belongs to; records it as the last of its epoch."""
    if "iter" not in line:
        step = _finite(line.get("step", 0))
        return None if step is None else last_of_epoch.get(step, step)
    iteration, epoch = _finite(line["iter"]), _finite(line.get("epoch"))
    if iteration is not None and epoch is not None:
        last_of_epoch[epoch] = iteration
    return iteration


def _finite(value: Any) -> float | None:
    """A JSON value if it is a finite number."""
    if not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an integer beyond all floats
        return None


def downsample(values: list[float]) -> list[float]:
    """At most `POINTS` of the values, evenly spaced, with the first and the last."""
    if len(values) <= POINTS:
        return values
    last = len(values) - 1
    return [values[round(i * last / (POINTS - 1))] for i in range(POINTS)]
