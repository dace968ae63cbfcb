"""Tables of loading and of evaluation."""

from collections.abc import Sequence

from casvit_dense.measure.rows import Row
from casvit_dense.measure.tables import (
    Chart,
    ChartedTable,
    conditions_note,
    newest_machine,
    number,
    pick,
)
from casvit_dense.results.table import shown

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
