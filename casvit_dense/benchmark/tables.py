"""Tables of measured rows: what a page shows, before it is text or a picture."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from casvit_dense.benchmark.rows import Row
from casvit_dense.results.table import NOTHING, Table, milliseconds, shown


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


def newest_machine(rows: Sequence[Row]) -> list[Row]:
    """The rows of the machine, with its number of threads, that was measured last.

    Figures of two machines do not belong into one table.
    """
    if not rows:
        return []
    last = max(rows, key=lambda row: row["date"])
    same = ("machine", "threads")
    return [row for row in rows if all(row[key] == last[key] for key in same)]


def pick(rows: Iterable[Row], **conditions: str) -> Row | None:
    """The newest row under these conditions."""
    found = [row for row in rows if all(row[key] == value for key, value in conditions.items())]
    return max(found, key=lambda row: row["date"], default=None)


def number(row: Mapping[str, str] | None, column: str) -> float | None:
    """A figure of a row, ``None`` where there is none."""
    text = row.get(column) if row else None
    return float(text) if text else None


def time_cell(row: Row | None) -> str:
    """Median with 10th and 90th percentile in milliseconds, if all are there; or that it failed."""
    if row is None:
        return NOTHING
    if row["error"]:
        return "failed"
    median, low, high = (number(row, name) for name in ("median_ms", "p10_ms", "p90_ms"))
    if median is None or low is None or high is None:
        return NOTHING
    return milliseconds(median, low, high)


def geometric_mean(values: Sequence[float | None]) -> float | None:
    """Of all values; ``None`` where one is missing, since a mean over fewer is another quantity."""
    numbers = [value for value in values if value is not None]
    if not numbers or len(numbers) < len(values):
        return None
    return math.exp(sum(map(math.log, numbers)) / len(numbers))


def conditions_note(rows: Sequence[Row]) -> list[str]:
    """One line on what all rows of a table have in common, ``[]`` without rows."""
    timed = [row for row in rows if not row.get("error")]
    if not timed:
        return []

    def all_of(column: str) -> list[str]:
        return sorted({row[column] for row in timed if row.get(column)})

    dates = sorted(row["date"][:10] for row in timed)
    words = [
        " and ".join(all_of("machine")),
        f"{', '.join(all_of('threads'))} threads",
        *(f"torch {version}" for version in all_of("torch")),
        *all_of("runtime"),
        f"casvit-dense {', '.join(all_of('project') + all_of('commit'))}",
        dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}",
    ]
    rates = [float(row["matmul_gflops"]) for row in timed if row.get("matmul_gflops")]
    if rates:
        low, high = (f"{rate:.0f}" for rate in (min(rates), max(rates)))
        span = low if low == high else f"{low} to {high}"
        libraries = " and ".join(all_of("matmul_by"))
        words.append(f"best matrix product {span} GFLOP/s ({libraries})")
    return [f"Measured on {'; '.join(words)}."]


PHASES = ("results", "load", "evaluate", "accumulate", "total")


def evaluation(rows: Sequence[Row]) -> ChartedTable:
    """Seconds of every phase by either package, on the same generated detections."""
    rows = newest_machine([row for row in rows if row["phase"]])  # without one: a failed kind
    runs = list(dict.fromkeys((row["kind"], row["backend"]) for row in rows))
    body, series, sizes = [], {}, set()
    for kind, backend in runs:
        found = [pick(rows, kind=kind, backend=backend, phase=phase) for phase in PHASES]
        total = found[-1]
        series[f"{kind}, {backend}"] = [number(row, "seconds") for row in found]
        body.append(
            [
                f"{kind}, {backend}",
                *(shown(number(row, "seconds"), "{:.1f}") for row in found),
                shown(number(total, "speedup"), "{:.1f}"),
                shown(number(total, "peak_mib"), "{:.0f}"),
                shown(number(total, "largest_difference"), "{:.1g}"),
            ]
        )
        if total is not None:
            counts = (f"{int(total[name]):,} {name}" for name in ("images", "categories"))
            sizes.add(f"{', '.join(counts)}, {int(total['detections']):,} detections")
    header = ["Kind and package", *(f"{phase}, s" for phase in PHASES)]
    header += ["times pycocotools", "peak MiB", "largest difference"]
    notes = [f"Generated: {'; '.join(sorted(sizes))}."] if sizes else []
    chart = Chart("seconds", list(PHASES), series)
    return ChartedTable(header, body, notes=notes + conditions_note(rows), chart=chart)


def loading(rows: Sequence[Row]) -> ChartedTable:
    """Milliseconds of every step of loading an image, by decoder; then the loader's rate."""
    rows = newest_machine([row for row in rows if row["step"]])  # without one: a failed config
    configs = list(dict.fromkeys(row["config"] for row in rows))
    decoders = list(dict.fromkeys(row["decoder"] for row in rows))
    steps = list(dict.fromkeys((row["config"], row["step"]) for row in rows))
    body = []
    series: dict[str, list[float | None]] = {decoder: [] for decoder in decoders}
    timed = []
    for config, step in steps:
        found = [pick(rows, config=config, step=step, decoder=decoder) for decoder in decoders]
        rates = [number(row, "images_per_second") for row in found]
        name = f"{step}, {config}" if len(configs) > 1 else step
        if any(rate is not None for rate in rates):
            body.append([f"{name}, images/s", *(shown(rate, "{:.1f}") for rate in rates)])
            for column in ("rss_mib", "private_mib"):
                values = [number(row, column) for row in found]
                body.append([f"{name}, {column}", *(shown(value, "{:.0f}") for value in values)])
        else:
            timed.append(name)
            for decoder, row in zip(decoders, found, strict=True):
                series[decoder].append(number(row, "ms"))
            body.append([f"{name}, ms", *(shown(number(row, "ms")) for row in found)])
    header = ["Step", *decoders]
    notes = [f"{', '.join(configs)}."] if configs else []
    chart = Chart("ms", timed, series)
    return ChartedTable(header, body, notes=notes + conditions_note(rows), chart=chart)
