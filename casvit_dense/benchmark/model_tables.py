"""Tables of our models beside others: time, throughput, size."""

from collections.abc import Iterable, Sequence

from casvit_dense.benchmark.cases import INFERENCE_FORMS, PAPER_SIZE, RUNTIMES, variants
from casvit_dense.benchmark.speed_tables import at_512, fastest, timed
from casvit_dense.benchmark.tables import (
    Chart,
    ChartedTable,
    conditions_note,
    figure,
    matching,
    pick,
    time_cell,
)
from casvit_dense.results.row import Speed
from casvit_dense.results.table import NOTHING, shown
from casvit_dense.results.tables import ModelSize
from casvit_dense.zoo import FAMILIES, Family, backbone_of, family_of


def by_cost(rows: Sequence[Speed]) -> list[str]:
    """Models of the rows, the cheapest first."""
    cost = {row.model: row.gmacs or 0.0 for row in rows}
    return sorted(cost, key=lambda model: (cost[model], model))


def faster_form(rows: Sequence[Speed], **fields: object) -> Speed | None:
    """The faster of the reference and the fused form; a failure where both failed."""
    found = [pick(rows, form=form, **fields) for form in INFERENCE_FORMS]
    there = [row for row in found if row is not None]
    return fastest(there) or next(iter(there), None)


def peers(rows: Sequence[Speed]) -> ChartedTable:
    """Backbones at 512x512 on every backend that serves all of them."""
    rows = at_512(rows)
    models = by_cost(rows)
    body = []
    columns: dict[str, list[float | None]] = {
        name: [] for name in ("eager, reference", "eager, fused", *RUNTIMES)
    }
    for model in models:
        cells = [
            *(pick(rows, model=model, form=form, backend="eager") for form in INFERENCE_FORMS),
            *(faster_form(rows, model=model, backend=runtime) for runtime in RUNTIMES),
        ]
        for name, row in zip(columns, cells, strict=True):
            columns[name].append(figure(row, "median_ms"))
        times = [figure(row, "median_ms") for row in cells]
        least = min((time for time in times if time is not None), default=None)
        gmacs = figure(cells[0], "gmacs")
        rate = None if least is None or gmacs is None else 1e3 * gmacs / least
        body.append(
            [
                backbone_of(model),
                shown(figure(cells[0], "params_m"), "{:.1f}"),
                shown(gmacs, "{:.1f}"),
                *map(time_cell, cells),
                shown(rate, "{:.0f}"),
            ]
        )
    header = ["Backbone", "M parameters", "GMACs", *(f"{name}, ms" for name in columns)]
    header.append("GMACs a second at best")
    chart = Chart("ms for an image", [backbone_of(model) for model in models], columns)
    return ChartedTable(header, body, notes=conditions_note(rows), chart=chart)


def paper(rows: Sequence[Speed]) -> ChartedTable:
    """Images a second at the size of classification."""
    size = "x".join(map(str, PAPER_SIZE))
    columns: dict[str, dict[str, object]] = {
        "ONNX Runtime, reference": {"form": "reference", "backend": "onnxruntime"},
        "ONNX Runtime, fused": {"form": "fused", "backend": "onnxruntime"},
        "GPU fp32, reference": {"form": "reference", "precision": "fp32"},
        "GPU bf16, fused": {"form": "fused", "precision": "bf16"},
    }
    sides = [timed(rows, mode="infer", size=size, device_type=d) for d in ("cpu", "cuda")]
    models = by_cost([row for side in sides for row in side]) or list(variants())
    series = {
        name: [
            figure(pick(sides[name.startswith("GPU")], model=model, **fields), "images_per_s")
            for model in models
        ]
        for name, fields in columns.items()
    }
    body = [
        [backbone_of(model), *(shown(values[i], "{:.0f}") for values in series.values())]
        for i, model in enumerate(models)
    ]
    header = ["Backbone", *(f"{name}, images/s" for name in series)]
    chart = Chart("images a second", [backbone_of(model) for model in models], series)
    notes = [note for side in sides for note in conditions_note(side)]
    return ChartedTable(header, body, notes=notes, chart=chart)


def models(rows: Sequence[Speed]) -> ChartedTable:
    """Complete models, predictions included, on every path that was measured."""
    rows = timed(rows, part="model", mode="infer", precision="fp32")
    paths = list(dict.fromkeys((row.form, row.backend) for row in rows))
    inputs = list(dict.fromkeys((row.model, row.size, row.rois) for row in rows))
    series: dict[str, list[float | None]] = {", ".join(path): [] for path in paths}
    body = []
    for model, size, rois in inputs:
        for form, backend in paths:
            found = pick(rows, model=model, size=size, form=form, backend=backend)
            series[f"{form}, {backend}"].append(figure(found, "median_ms"))
            line = [short_name(model), size, rois or NOTHING, f"{form}, {backend}"]
            line += [time_cell(found), shown(figure(found, "ratio"))]
            body.append([*line, shown(figure(found, "peak_mb"), "{:.0f}")])
    header = ["Model", "size", "second stage", "path", "ms", "times reference eager", "peak MB"]
    labels = [short_name(model) for model, _, _ in inputs]
    chart = Chart("ms for an image", labels, series)
    return ChartedTable(header, body, notes=conditions_note(rows), chart=chart)


def short_name(model: str) -> str:
    """A config's stem without batch and schedule."""
    return model.split("_8xb4")[0]


def counts(rows: Sequence[Speed]) -> ChartedTable:
    """Parameters and multiply-adds of every backbone with every head."""
    rows = matching(rows, mode="count", part="model", error=None)
    found: dict[str, dict[str, Speed]] = {}
    for model in dict.fromkeys(row.model for row in rows):
        if (family := family_of(model)) is not None:
            size = size_of(family)
            row = pick(rows, model=model, size=size)
            if row is not None:
                found.setdefault(backbone_of(model), {})[family.key] = row
    cost = {
        name: figure(heads.get("sem_fpn_40k"), "backbone_gmacs") for name, heads in found.items()
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
        line = [backbone, shown(figure(alone, "backbone_params_m")), shown(cost[backbone])]
        for family in FAMILIES:
            params, gmacs = (figure(heads.get(family.key), key) for key in ("params_m", "gmacs"))
            line += [shown(params, "{:.1f}"), shown(gmacs, "{:.1f}")]
            series[family.title].append(gmacs)
        body.append(line)
    return ChartedTable(header, body, chart=Chart("GMACs", order, series))


def size_of(family: Family) -> str:
    """The input that papers count a family's models at, as rows name it."""
    return "{}x{}".format(*family.counting_size)


def model_sizes(rows: Iterable[object]) -> dict[str, ModelSize]:
    """The newest count of every model at the input that papers count its head at, by config stem.

    Args:
        rows: of a ledger; those of other kinds are skipped.
    """
    speeds = [row for row in rows if isinstance(row, Speed)]
    found = {}
    for row in sorted(matching(speeds, mode="count", part="model"), key=lambda row: row.date):
        family = family_of(row.model)
        params, gmacs, backbone = row.params_m, row.gmacs, row.backbone_params_m
        if row.error or family is None or row.size != size_of(family):
            continue
        if params is not None and gmacs is not None and backbone is not None:
            work = f" with {row.rois}" if row.rois else ""
            found[row.model] = ModelSize(params, gmacs, backbone, row.size + work)
    return found
