"""Tables of our models beside others: time, throughput, size."""

from collections.abc import Sequence

from casvit_dense.benchmark.cases import PAPER_SIZE, RUNTIMES, VARIANTS
from casvit_dense.benchmark.rows import Row
from casvit_dense.benchmark.speed_tables import timed
from casvit_dense.benchmark.tables import (
    Chart,
    ChartedTable,
    conditions_note,
    number,
    pick,
    time_cell,
)
from casvit_dense.results.table import NOTHING, shown
from casvit_dense.results.tables import ModelSize
from casvit_dense.zoo import FAMILIES, family_of

FORMS = ("reference", "fused")


def backbone_name(model: str) -> str:
    """The backbone that a config's stem names, between method and neck or schedule."""
    return model.split("_")[1] if "_" in model else model


def by_cost(rows: Sequence[Row]) -> list[str]:
    """Models of the rows, the cheapest first."""
    cost = {row["model"]: number(row, "gmacs") or 0.0 for row in rows}
    return sorted(cost, key=lambda model: (cost[model], model))


def faster_form(rows: Sequence[Row], **conditions: str) -> Row | None:
    """The faster of the reference and the fused form; a failure where both failed."""
    found = [row for form in FORMS if (row := pick(rows, form=form, **conditions)) is not None]
    good = [row for row in found if row["median_ms"] and not row["error"]]
    return min(good, key=lambda row: float(row["median_ms"])) if good else next(iter(found), None)


def peers(rows: Sequence[Row]) -> ChartedTable:
    """Backbones at 512x512 on every backend that serves all of them."""
    common = dict(mode="infer", part="backbone", size="512x512", batch="1", dtype="fp32")
    rows = timed(rows, **common, device="cpu", memory_format="default")
    models = by_cost(rows)
    body = []
    columns: dict[str, list[float | None]] = {
        name: [] for name in ("eager, reference", "eager, fused", *RUNTIMES)
    }
    for model in models:
        cells = [
            *(pick(rows, model=model, form=form, backend="eager") for form in FORMS),
            *(faster_form(rows, model=model, backend=runtime) for runtime in RUNTIMES),
        ]
        for name, row in zip(columns, cells, strict=True):
            columns[name].append(number(row, "median_ms"))
        times = [number(row, "median_ms") for row in cells]
        least = min((time for time in times if time is not None), default=None)
        gmacs = number(cells[0], "gmacs")
        rate = None if least is None or gmacs is None else 1e3 * gmacs / least
        body.append(
            [
                backbone_name(model),
                shown(number(cells[0], "params_m"), "{:.1f}"),
                shown(gmacs, "{:.1f}"),
                *map(time_cell, cells),
                shown(rate, "{:.0f}"),
            ]
        )
    header = ["Backbone", "M parameters", "GMACs", *(f"{name}, ms" for name in columns)]
    header.append("GMACs a second at best")
    chart = Chart("ms for an image", [backbone_name(model) for model in models], columns)
    return ChartedTable(header, body, notes=conditions_note(rows), chart=chart)


def paper(rows: Sequence[Row]) -> ChartedTable:
    """Images a second at the size of classification."""
    size = "x".join(map(str, PAPER_SIZE))
    kinds = {
        "ONNX Runtime, reference": dict(device="cpu", form="reference", backend="onnxruntime"),
        "ONNX Runtime, fused": dict(device="cpu", form="fused", backend="onnxruntime"),
        "GPU fp32, reference": dict(device="cuda", form="reference", dtype="fp32"),
        "GPU bf16, fused": dict(device="cuda", form="fused", dtype="bf16"),
    }
    sides = {d: timed(rows, mode="infer", size=size, device=d) for d in ("cpu", "cuda")}
    models = by_cost([row for side in sides.values() for row in side]) or list(VARIANTS)
    series = {
        name: [number(pick(sides[kind["device"]], model=m, **kind), "images_per_s") for m in models]
        for name, kind in kinds.items()
    }
    body = [
        [backbone_name(model), *(shown(values[i], "{:.0f}") for values in series.values())]
        for i, model in enumerate(models)
    ]
    header = ["Backbone", *(f"{name}, images/s" for name in series)]
    chart = Chart("images a second", [backbone_name(model) for model in models], series)
    notes = [note for side in sides.values() for note in conditions_note(side)]
    return ChartedTable(header, body, notes=notes, chart=chart)


def models(rows: Sequence[Row]) -> ChartedTable:
    """Complete models, predictions included, on every path that was measured."""
    rows = timed(rows, part="model", mode="infer", dtype="fp32")
    paths = list(dict.fromkeys((row["form"], row["backend"]) for row in rows))
    inputs = list(dict.fromkeys((row["model"], row["size"], row["rois"]) for row in rows))
    series: dict[str, list[float | None]] = {", ".join(path): [] for path in paths}
    body = []
    for model, size, rois in inputs:
        for form, backend in paths:
            found = pick(rows, model=model, size=size, form=form, backend=backend)
            series[f"{form}, {backend}"].append(number(found, "median_ms"))
            line = [short_name(model), size, rois or NOTHING, f"{form}, {backend}"]
            line += [time_cell(found), shown(number(found, "ratio"))]
            body.append([*line, shown(number(found, "peak_mb"), "{:.0f}")])
    header = ["Model", "size", "second stage", "path", "ms", "times reference eager", "peak MB"]
    labels = [short_name(model) for model, _, _ in inputs]
    chart = Chart("ms for an image", labels, series)
    return ChartedTable(header, body, notes=conditions_note(rows), chart=chart)


def short_name(model: str) -> str:
    """A config's stem without batch and schedule."""
    return model.split("_8xb4")[0]


def counts(rows: Sequence[Row]) -> ChartedTable:
    """Parameters and multiply-adds of every backbone with every head."""
    rows = [row for row in rows if row["mode"] == "count" and not row["error"]]
    found: dict[str, dict[str, Row]] = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        if (family := family_of(model)) is not None:
            size = "{}x{}".format(*family.counting_size)
            row = pick(rows, model=model, part="model", size=size)
            if row is not None:
                found.setdefault(backbone_name(model), {})[family.key] = row
    cost = {
        name: number(heads.get("sem_fpn_40k"), "backbone_gmacs") for name, heads in found.items()
    }
    order = sorted(found, key=lambda name: cost[name] or 0.0)
    header = ["Backbone", "M parameters", "GMACs at 512x512"]
    for family in FAMILIES:
        header += [f"{family.title}, M", "GMACs"]
    body = []
    series: dict[str, list[float | None]] = {f.title: [] for f in FAMILIES}
    for backbone in order:
        heads = found[backbone]
        alone = heads.get("sem_fpn_40k")
        line = [backbone, shown(number(alone, "backbone_params_m")), shown(cost[backbone])]
        for family in FAMILIES:
            params, gmacs = (number(heads.get(family.key), key) for key in ("params_m", "gmacs"))
            line += [shown(params, "{:.1f}"), shown(gmacs, "{:.1f}")]
            series[family.title].append(gmacs)
        body.append(line)
    return ChartedTable(header, body, chart=Chart("GMACs", order, series))


def model_sizes(rows: Sequence[Row]) -> dict[str, ModelSize]:
    """The newest count of every model at the input that papers count its head at, by config stem.

    Args:
        rows: of the CPU suite's file.
    """
    counts = [
        row
        for row in rows
        if row["mode"] == "count" and row["part"] == "model" and not row["error"]
        if (family := family_of(row["model"])) is not None
        and row["size"] == "{}x{}".format(*family.counting_size)
    ]
    found = {}
    for row in sorted(counts, key=lambda row: row["date"]):
        names = ("params_m", "gmacs", "backbone_params_m")
        params, gmacs, backbone = (number(row, name) for name in names)
        if params is not None and gmacs is not None and backbone is not None:
            work = f" with {row['rois']}" if row["rois"] else ""
            found[row["model"]] = ModelSize(params, gmacs, backbone, row["size"] + work)
    return found
