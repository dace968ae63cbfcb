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
        logged iteration. Lines that are none (a killed run's last) are left out.
    """
    curves: dict[str, Curve] = {}
    last_of_epoch: dict[int, int] = {}
    for line in _lines(log):
        if "iter" in line:
            at = int(line["iter"])
            if "epoch" in line:
                last_of_epoch[int(line["epoch"])] = at
        else:
            step = int(line.get("step", 0))
            at = last_of_epoch.get(step, step)
        for name, value in line.items():
            if name not in LEFT_OUT and isinstance(value, (int, float)) and math.isfinite(value):
                xs, ys = curves.setdefault(name, ([], []))
                xs.append(at)
                ys.append(float(f"{value:.4g}"))
    return {name: (pick(xs), pick(ys)) for name, (xs, ys) in curves.items()}


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
