"""Accuracy against cost: the points and axes of a data set's chart."""

from dataclasses import asdict
from typing import Any

from casvit_dense.results.boards import Board, Entry
from casvit_dense.results.costs import MEASURED, Axis
from casvit_dense.zoo import MAIN_METRICS, METRICS


def scatter(board: Board) -> dict[str, Any]:
    """The plot's data: ``quality`` and ``cost`` axes that some point has, and the points."""
    points = [_point(entry) for entry in board.entries if entry.cost]
    points = [point for point in points if point["quality"]]
    qualities = [m for m in MAIN_METRICS if any(m in point["quality"] for point in points)]
    axes = dict.fromkeys(axis for entry in board.entries if entry.rows for axis in entry.cost)
    axes |= dict.fromkeys(axis for entry in board.entries for axis in entry.cost)
    used = {key for point in points for key in point["cost"]}
    return {
        "quality": [asdict(Axis(m, board.title, METRICS[m].title, "percent")) for m in qualities],
        "cost": [asdict(axis) for axis in axes if axis.key in used],
        "points": points,
    }


def _point(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "head": entry.head,
        "config": entry.config,
        "ours": entry.ours,
        "measured": bool(entry.rows),
        "source": entry.target.source if entry.target else MEASURED,
        "quality": {m: round(v, 3) for m, v in entry.metrics.items() if m in MAIN_METRICS},
        "cost": {axis.key: value for axis, value in entry.cost.items()},
    }
