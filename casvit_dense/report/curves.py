"""Training curves from the logs that mmengine writes."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

POINTS = 300  # of one curve

#: Clocks and counters, which are not what a reader of curves looks for.
LEFT_OUT = {"time", "data_time", "eta", "memory", "epoch", "iter", "step"}

Curve = tuple[list[float], list[float]]


def read_curves(log: Path) -> dict[str, Curve]:
    """Curves of one run.

    Args:
        log: mmengine's ``scalars.json``: a line of JSON for every logged step and every validation.

    Returns:
        By name of the scalar, iterations and values; at most `POINTS`, evenly picked, the last
        one always among them. Validation of runs that count epochs stands at the epoch's last
        logged iteration. Lines that are none (a killed run's last) or that do not say where they
        stand, and values that are no finite numbers, are left out.
    """
    curves: dict[str, Curve] = {}
    last_of_epoch: dict[float, float] = {}
    for line in _lines(log):
        at = _place(line, last_of_epoch)
        if at is None:
            continue
        for name, value in line.items():
            if name not in LEFT_OUT and (number := _finite(value)) is not None:
                xs, ys = curves.setdefault(name, ([], []))
                xs.append(at)
                ys.append(float(f"{number:.4g}"))
    return {name: (pick(xs), pick(ys)) for name, (xs, ys) in curves.items()}


def _place(line: Mapping[str, Any], last_of_epoch: dict[float, float]) -> float | None:
    """The iteration that a line belongs to; notes it as its epoch's last."""
    if "iter" not in line:
        step = _finite(line.get("step", 0))
        return None if step is None else last_of_epoch.get(step, step)
    iteration, epoch = _finite(line["iter"]), _finite(line.get("epoch"))
    if iteration is not None and epoch is not None:
        last_of_epoch[epoch] = iteration
    return iteration


def _finite(value: Any) -> float | None:
    """A JSON value as a finite number, if it is one."""
    if not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an integer beyond all floats
        return None


def _lines(log: Path) -> Iterator[Mapping[str, Any]]:
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            yield content


def pick(values: list[float], points: int = POINTS) -> list[float]:
    """At most so many of the values, evenly spaced, with the first and the last."""
    if len(values) <= points:
        return values
    last = len(values) - 1
    return [values[round(i * last / (points - 1))] for i in range(points)]
