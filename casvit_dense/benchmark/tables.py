"""What every table of measured rows needs, and the tables of data loading and evaluation."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from casvit_dense.benchmark.cases import BenchmarkCase
from casvit_dense.provenance import DIRTY
from casvit_dense.results.measurements import BenchmarkRow, EvaluatorSpeed, LoadingSpeed, Speed
from casvit_dense.results.table import Table, shown

Measured = TypeVar("Measured", Speed, LoadingSpeed, EvaluatorSpeed)
Series = dict[str, list[float | None]]


@dataclass(frozen=True)
class Chart:
    """Numbers of a table as a picture.

    Attributes:
        unit: what the numbers are.
        labels: the groups of bars, or the points of lines.
        series: a number for every label, or ``None``.
        lines: connect the points; otherwise bars.
    """

    unit: str
    labels: list[str]
    series: Series
    lines: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return all(value is None for values in self.series.values() for value in values)


@dataclass(frozen=True, kw_only=True)
class ChartedTable(Table):
    """A table, and its numbers as a chart."""

    chart: Chart


def newest_machine(rows: Sequence[Measured]) -> list[Measured]:
    """The rows of the machine, with its number of threads, that was measured last.

    Figures of two machines do not belong into one table.
    """
    if not rows:
        return []
    last = max(rows, key=lambda row: row.date)
    return [row for row in rows if (row.device, row.threads) == (last.device, last.threads)]


def matching(rows: Iterable[Measured], **fields: object) -> list[Measured]:
    """The rows whose fields have these values."""
    return [
        row for row in rows if all(getattr(row, name) == value for name, value in fields.items())
    ]


def pick(rows: Iterable[Measured], **fields: object) -> Measured | None:
    """The newest row whose fields have these values."""
    return max(matching(rows, **fields), key=lambda row: row.date, default=None)


def timed(rows: Sequence[Speed], **fields: object) -> list[Speed]:
    """Rows of the newest machine that were timed under some conditions.

    Ratios to anything but the reference in eager fp32 have no place in a table.
    """
    bases = (None, BenchmarkCase().label)  # a failure has none
    found = [row for row in matching(rows, **fields) if row.mode != "count" and row.base in bases]
    return newest_machine(found)


def fastest(rows: Iterable[Speed | None]) -> Speed | None:
    """The row of the least time, without those that failed."""
    found = [row for row in rows if row is not None and row.median_ms and not row.error]
    return min(found, key=lambda row: row.median_ms or 0.0, default=None)


def figure(row: BenchmarkRow | None, name: str) -> float | None:
    """A figure of a row, ``None`` where there is none."""
    return None if row is None else getattr(row, name)


def figures(rows: Iterable[BenchmarkRow | None], name: str) -> list[float | None]:
    """The same figure of several rows."""
    return [figure(row, name) for row in rows]


def quotient(a: float | None, b: float | None) -> float | None:
    """``a / b``, ``None`` where either is missing."""
    return None if a is None or b is None else a / b


def geometric_mean(values: Sequence[float | None]) -> float | None:
    """Of all values; ``None`` where one is missing, since a mean over fewer is another quantity."""
    numbers = [value for value in values if value is not None]
    if not numbers or len(numbers) < len(values):
        return None
    return math.exp(sum(map(math.log, numbers)) / len(numbers))


def conditions_note(rows: Iterable[BenchmarkRow | None]) -> list[str]:
    """One line on what all rows of a table have in common, ``[]`` without rows."""
    measured = [row for row in rows if row is not None and not row.error]
    if not measured:
        return []
    versions = sorted({pair for row in measured for pair in row.software.versions.items()})
    versions.sort(key=lambda pair: pair[0] != "torch")
    software = [row.software for row in measured]
    ours = [version for name, version in versions if name == "casvit-dense"]
    ours += sorted({f"{s.commit}{DIRTY * s.dirty}" for s in software if s.commit})
    dates = [row.date for row in measured]
    words = [
        " and ".join(sorted({row.device for row in measured})),
        f"{', '.join(sorted({str(row.threads) for row in measured}))} threads",
        *(f"{name} {version}" for name, version in versions if name != "casvit-dense"),
        f"casvit-dense {', '.join(ours)}",
        " to ".join(dict.fromkeys(f"{date:%Y-%m-%d}" for date in (min(dates), max(dates)))),
    ]
    speeds = [row for row in measured if isinstance(row, Speed) and row.matmul_gflops]
    if speeds:
        rates = [row.matmul_gflops or 0.0 for row in speeds]
        span = " to ".join(dict.fromkeys(f"{rate:.0f}" for rate in (min(rates), max(rates))))
        libraries = " and ".join(sorted({row.matmul_by for row in speeds if row.matmul_by}))
        words.append(f"best matrix product {span} GFLOP/s ({libraries})")
    return [f"Measured on {'; '.join(words)}."]


PHASES = ("results", "load", "evaluate", "accumulate", "total")


def evaluation(rows: Sequence[EvaluatorSpeed]) -> ChartedTable:
    """Seconds of every phase by either package, on the same generated detections."""
    rows = newest_machine([row for row in rows if row.phase])  # without one: a failed task
    body, series, sizes = [], {}, set()
    for task, backend in dict.fromkeys((row.task, row.backend) for row in rows):
        found = [pick(rows, task=task, backend=backend, phase=phase) for phase in PHASES]
        total, name = found[-1], f"{task}, {backend}"
        series[name] = figures(found, "seconds")
        line = [name, *(shown(seconds, "{:.1f}") for seconds in series[name])]
        line += [
            shown(figure(total, "speedup"), "{:.1f}"),
            shown(figure(total, "peak_mib"), "{:.0f}"),
        ]
        body.append([*line, shown(figure(total, "largest_difference"), "{:.1g}")])
        if total is not None:
            sizes.add(
                f"{total.images:,} images, {total.categories:,} categories, "
                f"{total.detections:,} detections"
            )
    header = ["Kind and package", *(f"{phase}, s" for phase in PHASES)]
    header += ["times pycocotools", "peak MiB", "largest difference"]
    notes = [f"Generated: {'; '.join(sorted(sizes))}."] if sizes else []
    chart = Chart("seconds", list(PHASES), series)
    return ChartedTable(header, body, notes=notes + conditions_note(rows), chart=chart)


def loading(rows: Sequence[LoadingSpeed]) -> ChartedTable:
    """Milliseconds of every step of loading an image, by decoder; then the loader's rate."""
    rows = newest_machine([row for row in rows if row.step])  # without one: a failed config
    configs = list(dict.fromkeys(row.config for row in rows))
    decoders = list(dict.fromkeys(str(row.decoder) for row in rows))
    body, labels = [], []
    series: Series = {decoder: [] for decoder in decoders}
    for config, step in dict.fromkeys((row.config, row.step) for row in rows):
        found = [pick(rows, config=config, step=step, decoder=decoder) for decoder in decoders]
        name = f"{step}, {config}" if len(configs) > 1 else str(step)
        rates = figures(found, "images_per_second")
        if any(rate is not None for rate in rates):
            body.append([f"{name}, images/s", *(shown(rate, "{:.1f}") for rate in rates)])
            for column in ("rss_mib", "private_mib"):
                values = figures(found, column)
                body.append([f"{name}, {column}", *(shown(value, "{:.0f}") for value in values)])
        else:
            times = figures(found, "ms")
            labels.append(name)
            for decoder, time in zip(decoders, times, strict=True):
                series[decoder].append(time)
            body.append([f"{name}, ms", *map(shown, times)])
    notes = [f"{', '.join(configs)}."] if configs else []
    chart = Chart("ms", labels, series)
    return ChartedTable(["Step", *decoders], body, notes=notes + conditions_note(rows), chart=chart)
