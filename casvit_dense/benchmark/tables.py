"""Tables of measured rows: what a page shows, before it is text or a picture."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from casvit_dense.provenance import DIRTY
from casvit_dense.results.row import BenchmarkRow, EvaluatorSpeed, LoadingSpeed, Speed
from casvit_dense.results.table import NOTHING, Table, milliseconds, shown

Measured = TypeVar("Measured", Speed, LoadingSpeed, EvaluatorSpeed)


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
    series: dict[str, list[float | None]]
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


def figure(row: BenchmarkRow | None, name: str) -> float | None:
    """A figure of a row, ``None`` where there is none."""
    return None if row is None else getattr(row, name)


def time_cell(row: Speed | None) -> str:
    """Median with 10th and 90th percentile in milliseconds, if all are there; or that it failed."""
    if row is None:
        return NOTHING
    if row.error:
        return "failed"
    if row.median_ms is None or row.p10_ms is None or row.p90_ms is None:
        return NOTHING
    return milliseconds(row.median_ms, row.p10_ms, row.p90_ms)


def geometric_mean(values: Sequence[float | None]) -> float | None:
    """Of all values; ``None`` where one is missing, since a mean over fewer is another quantity."""
    numbers = [value for value in values if value is not None]
    if not numbers or len(numbers) < len(values):
        return None
    return math.exp(sum(map(math.log, numbers)) / len(numbers))


def conditions_note(rows: Sequence[BenchmarkRow]) -> list[str]:
    """One line on what all rows of a table have in common, ``[]`` without rows."""
    timed = [row for row in rows if not row.error]
    if not timed:
        return []
    versions = {pair for row in timed for pair in row.software.versions.items()}
    ours = sorted(version for name, version in versions if name == "casvit-dense")
    commits = {
        f"{row.software.commit}{DIRTY * row.software.dirty}" for row in timed if row.software.commit
    }
    dates = sorted(f"{row.date:%Y-%m-%d}" for row in timed)
    words = [
        " and ".join(sorted({row.device for row in timed})),
        f"{', '.join(sorted({str(row.threads) for row in timed}))} threads",
        *(f"{name} {version}" for name, version in sorted(versions) if name == "torch"),
        *(
            f"{name} {version}"
            for name, version in sorted(versions)
            if name not in ("casvit-dense", "torch")
        ),
        f"casvit-dense {', '.join([*ours, *sorted(commits)])}",
        dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}",
    ]
    speeds = [row for row in timed if isinstance(row, Speed) and row.matmul_gflops]
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
    runs = list(dict.fromkeys((row.task, row.backend) for row in rows))
    body, series, sizes = [], {}, set()
    for task, backend in runs:
        found = [pick(rows, task=task, backend=backend, phase=phase) for phase in PHASES]
        total = found[-1]
        series[f"{task}, {backend}"] = [figure(row, "seconds") for row in found]
        body.append(
            [
                f"{task}, {backend}",
                *(shown(figure(row, "seconds"), "{:.1f}") for row in found),
                shown(figure(total, "speedup"), "{:.1f}"),
                shown(figure(total, "peak_mib"), "{:.0f}"),
                shown(figure(total, "largest_difference"), "{:.1g}"),
            ]
        )
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
    steps = list(dict.fromkeys((row.config, row.step) for row in rows))
    body = []
    series: dict[str, list[float | None]] = {decoder: [] for decoder in decoders}
    timed = []
    for config, step in steps:
        found = [pick(rows, config=config, step=step, decoder=decoder) for decoder in decoders]
        rates = [figure(row, "images_per_second") for row in found]
        name = f"{step}, {config}" if len(configs) > 1 else str(step)
        if any(rate is not None for rate in rates):
            body.append([f"{name}, images/s", *(shown(rate, "{:.1f}") for rate in rates)])
            for column in ("rss_mib", "private_mib"):
                values = [figure(row, column) for row in found]
                body.append([f"{name}, {column}", *(shown(value, "{:.0f}") for value in values)])
        else:
            timed.append(name)
            for decoder, row in zip(decoders, found, strict=True):
                series[decoder].append(figure(row, "ms"))
            body.append([f"{name}, ms", *(shown(figure(row, "ms")) for row in found)])
    header = ["Step", *decoders]
    notes = [f"{', '.join(configs)}."] if configs else []
    chart = Chart("ms", timed, series)
    return ChartedTable(header, body, notes=notes + conditions_note(rows), chart=chart)
