"""Tables of networks: our backbones on CPU and GPU, the peers, complete models."""

from collections.abc import Sequence

from casvit_dense.benchmark.cases import (
    CPU_BACKENDS,
    GPU_BATCHES,
    GPU_SIZES,
    INFERENCE_FORMS,
    PAPER_SIZE,
    PLAIN,
    RUNTIMES,
    SCALING_SIDES,
    TRAINING_BATCH,
    TRAINING_FORMS,
    variants,
)
from casvit_dense.benchmark.tables import (
    Chart,
    ChartedTable,
    Series,
    conditions_note,
    fastest,
    figure,
    figures,
    geometric_mean,
    matching,
    pick,
    quotient,
    timed,
)
from casvit_dense.results.costs import newest_counts
from casvit_dense.results.measurements import Speed
from casvit_dense.results.table import NOTHING, shown
from casvit_dense.results.tables import time_cell
from casvit_dense.zoo import FAMILIES, backbone_of

VARIANTS = variants()
LETTERS = [name.removeprefix(PLAIN) for name in VARIANTS]


def at_512(rows: Sequence[Speed]) -> list[Speed]:
    """Inference of backbones in fp32 on one image of 512x512 on the CPU."""
    return timed(
        rows,
        mode="infer",
        part="backbone",
        size="512x512",
        batch=1,
        precision="fp32",
        device_type="cpu",
        memory_format="default",
    )


def ours_at_512(rows: Sequence[Speed]) -> dict[str, list[Speed | None]]:
    """Of every form and backend, a row for each of our backbones."""
    ours = [row for row in at_512(rows) if row.model in VARIANTS]
    return {
        f"{form}, {backend}": [pick(ours, model=m, form=form, backend=backend) for m in VARIANTS]
        for backend in CPU_BACKENDS
        for form in INFERENCE_FORMS
    }


def inference(rows: Sequence[Speed]) -> ChartedTable:
    """Every path and variant: time, and how many times as fast as the reference."""
    found = ours_at_512(rows)
    body = [
        [
            path,
            *map(time_cell, line),
            shown(geometric_mean(figures(line, "ratio"))),
            shown(geometric_mean(figures(line, "form_ratio"))),
        ]
        for path, line in found.items()
    ]
    header = ["Path", *(f"{letter}, ms" for letter in LETTERS)]
    header += ["times reference eager", "times reference here"]
    series = {path: figures(line, "ratio") for path, line in found.items()}
    chart = Chart("times as fast as the reference in eager mode", LETTERS, series)
    notes = conditions_note(row for line in found.values() for row in line)
    return ChartedTable(header, body, notes=notes, chart=chart)


def shares(rows: Sequence[Speed]) -> ChartedTable:
    """The fastest path of each variant, and its share of what the machine can do."""
    best = [fastest(paths) for paths in zip(*ours_at_512(rows).values(), strict=True)]
    body = [
        [
            letter,
            f"{row.form}, {row.backend}" if row else NOTHING,
            time_cell(row),
            shown(figure(row, "ratio")),
            shown(figure(row, "gmacs")),
            shown(figure(row, "matmul_share"), "{:.0%}"),
            shown(figure(row, "roofline_share"), "{:.0%}"),
        ]
        for letter, row in zip(LETTERS, best, strict=True)
    ]
    mean = geometric_mean(figures(best, "ratio"))
    body.append(["geometric mean", "", "", shown(mean), "", "", ""])
    header = ["Variant", "fastest path", "ms", "times reference eager", "GMACs"]
    header += ["of matrix product", "of roofline"]
    series = {
        "of the best matrix product": figures(best, "matmul_share"),
        "of the roofline": figures(best, "roofline_share"),
    }
    chart = Chart("share of the machine's rate", LETTERS, series)
    return ChartedTable(header, body, notes=conditions_note(best), chart=chart)


def memory(rows: Sequence[Speed]) -> ChartedTable:
    """Peak memory of every path and variant."""
    found = ours_at_512(rows)
    series = {path: figures(line, "peak_mb") for path, line in found.items()}
    body = [[path, *(shown(v, "{:.0f}") for v in values)] for path, values in series.items()]
    header = ["Path", *(f"{letter}, MB" for letter in LETTERS)]
    notes = conditions_note(row for line in found.values() for row in line)
    return ChartedTable(header, body, notes=notes, chart=Chart("peak memory, MB", LETTERS, series))


def training(rows: Sequence[Speed]) -> ChartedTable:
    """Forward and backward: time, saved activations, peak memory, against the reference."""
    rows = timed(
        rows,
        mode="train",
        device_type="cpu",
        backend="eager",
        precision="fp32",
        size="512x512",
        batch=TRAINING_BATCH,
    )
    body: list[list[str]] = []
    series: Series = {
        f"{form}, {kind}": [] for kind in ("time", "saved") for form in TRAINING_FORMS
    }
    for letter, model in zip(LETTERS, VARIANTS, strict=True):
        reference = figure(pick(rows, model=model, form="reference"), "saved_mb")
        for form in ("reference", *TRAINING_FORMS):
            row = pick(rows, model=model, form=form)
            kept = figure(row, "saved_mb")
            shares = {"time": quotient(1, figure(row, "ratio")), "saved": quotient(kept, reference)}
            line = [f"{letter}, {form}", time_cell(row), shown(shares["time"])]
            line += [shown(kept, "{:.0f}"), shown(shares["saved"])]
            body.append([*line, shown(figure(row, "peak_mb"), "{:.0f}")])
            if form in TRAINING_FORMS:
                for kind, share in shares.items():
                    series[f"{form}, {kind}"].append(share)
    for form in TRAINING_FORMS:
        time, saved = (
            shown(geometric_mean(series[f"{form}, {kind}"])) for kind in ("time", "saved")
        )
        body.append([f"geometric mean, {form}", "", time, "", saved, ""])
    header = ["Variant and form", "ms", "of reference", "saved MB", "of reference", "peak MB"]
    chart = Chart("share of the reference", LETTERS, series)
    return ChartedTable(header, body, notes=conditions_note(rows), chart=chart)


def scaling(rows: Sequence[Speed]) -> ChartedTable:
    """Time for a pixel at rising areas, relative to 512x512."""
    rows = timed(
        rows, mode="infer", model=VARIANTS[0], batch=1, precision="fp32", device_type="cpu"
    )
    paths = [("reference", "eager"), *(("fused", runtime) for runtime in RUNTIMES)]
    found = {
        f"{form}, {backend}": [
            pick(rows, size=f"{side}x{side}", form=form, backend=backend) for side in SCALING_SIDES
        ]
        for form, backend in paths
    }
    series: Series = {}
    for path, line in found.items():
        areas = zip(figures(line, "median_ms"), SCALING_SIDES, strict=True)
        times = [quotient(ms, side**2) for ms, side in areas]
        series[path] = [quotient(time, times[SCALING_SIDES.index(512)]) for time in times]
    body = [
        [
            f"{side}x{side}",
            *(cell for p in found for cell in (time_cell(found[p][i]), shown(series[p][i]))),
        ]
        for i, side in enumerate(SCALING_SIDES)
    ]
    header = ["Size", *(text for path in series for text in (f"{path}, ms", "a pixel"))]
    labels = [str(side) for side in SCALING_SIDES]
    chart = Chart("time for a pixel, relative to 512x512", labels, series, lines=True)
    notes = conditions_note(row for line in found.values() for row in line)
    return ChartedTable(header, body, notes=notes, chart=chart)


GPU_PATHS = (
    ("reference", "fp32", "eager"),
    ("reference", "autocast", "eager"),
    ("fused", "fp32", "eager"),
    ("fused", "bf16", "eager"),
    ("fused", "bf16", "cudagraphs"),
)
GPU_TRAINING_PATHS = (
    *GPU_PATHS[:2],
    ("fused-memory", "bf16", "eager"),
    ("fused-time", "bf16", "eager"),
    ("fused-time", "bf16", "cudagraphs"),
)
GPU_INPUTS = [(f"{h}x{w}", batch) for h, w in GPU_SIZES for batch in GPU_BATCHES]


def gpu_inference(rows: Sequence[Speed]) -> ChartedTable:
    """Every path and variant at both sizes and batches."""
    return _gpu_table(rows, "infer", GPU_PATHS)


def gpu_training(rows: Sequence[Speed]) -> ChartedTable:
    """The same, forward and backward."""
    return _gpu_table(rows, "train", GPU_TRAINING_PATHS)


def _gpu_table(
    rows: Sequence[Speed], mode: str, paths: Sequence[tuple[str, str, str]]
) -> ChartedTable:
    rows = timed(rows, mode=mode, device_type="cuda", part="backbone")
    found = {
        (path, at): [
            pick(
                rows,
                model=model,
                form=path[0],
                precision=path[1],
                backend=path[2],
                size=at[0],
                batch=at[1],
            )
            for model in VARIANTS
        ]
        for path in paths
        for at in GPU_INPUTS
    }
    body = [
        [f"{letter}, {', '.join(path)}", *(time_cell(found[path, at][i]) for at in GPU_INPUTS)]
        for i, letter in enumerate(LETTERS)
        for path in paths
    ]
    series: Series = {}
    for path in paths[1:]:
        name = ", ".join(path)
        ratios, copies = (
            [geometric_mean(figures(found[path, at], column)) for at in GPU_INPUTS]
            for column in ("ratio", "copy_share")
        )
        series[name] = ratios
        body.append([f"times reference fp32: {name}", *map(shown, ratios)])
        body.append([f"share of the copy rate: {name}", *(shown(c, "{:.0%}") for c in copies)])
    labels = [f"{size}, batch {batch}" for size, batch in GPU_INPUTS]
    header = ["Variant and path", *(f"{label}, ms" for label in labels)]
    chart = Chart("times as fast as the reference in fp32", labels, series)
    return ChartedTable(header, body, notes=conditions_note(rows), chart=chart)


def by_cost(rows: Sequence[Speed]) -> list[str]:
    """Models of the rows, the cheapest first."""
    cost = {row.model: row.gmacs or 0.0 for row in rows}
    return sorted(cost, key=lambda model: (cost[model], model))


def faster_form(rows: Sequence[Speed], **fields: object) -> Speed | None:
    """The faster of the reference and the fused form; a failure where both failed."""
    found = [pick(rows, form=form, **fields) for form in INFERENCE_FORMS]
    return fastest(found) or next(filter(None, found), None)


def peers(rows: Sequence[Speed]) -> ChartedTable:
    """Backbones at 512x512 on every backend that serves all of them."""
    rows = at_512(rows)
    series: Series = {name: [] for name in ("eager, reference", "eager, fused", *RUNTIMES)}
    body = []
    for model in by_cost(rows):
        cells = [
            *(pick(rows, model=model, form=form, backend="eager") for form in INFERENCE_FORMS),
            *(faster_form(rows, model=model, backend=runtime) for runtime in RUNTIMES),
        ]
        for values, row in zip(series.values(), cells, strict=True):
            values.append(figure(row, "median_ms"))
        times = [time for time in figures(cells, "median_ms") if time is not None]
        gmacs = figure(cells[0], "gmacs")
        rate = quotient(gmacs, min(times, default=None))
        line = [backbone_of(model), shown(figure(cells[0], "params_m"), "{:.1f}")]
        line += [shown(gmacs, "{:.1f}"), *map(time_cell, cells)]
        body.append([*line, shown(rate and 1e3 * rate, "{:.0f}")])
    header = ["Backbone", "M parameters", "GMACs", *(f"{name}, ms" for name in series)]
    header.append("GMACs a second at best")
    chart = Chart("ms for an image", [line[0] for line in body], series)
    return ChartedTable(header, body, notes=conditions_note(rows), chart=chart)


def paper(rows: Sequence[Speed]) -> ChartedTable:
    """Images a second at the size of classification."""
    size = "x".join(map(str, PAPER_SIZE))
    cpu, cuda = (timed(rows, mode="infer", size=size, device_type=d) for d in ("cpu", "cuda"))
    columns = {
        "ONNX Runtime, reference": matching(cpu, form="reference", backend="onnxruntime"),
        "ONNX Runtime, fused": matching(cpu, form="fused", backend="onnxruntime"),
        "GPU fp32, reference": matching(cuda, form="reference", precision="fp32"),
        "GPU bf16, fused": matching(cuda, form="fused", precision="bf16"),
    }
    models = by_cost([*cpu, *cuda]) or list(VARIANTS)
    series = {
        name: figures([pick(column, model=model) for model in models], "images_per_s")
        for name, column in columns.items()
    }
    labels = [backbone_of(model) for model in models]
    body = [
        [label, *(shown(values[i], "{:.0f}") for values in series.values())]
        for i, label in enumerate(labels)
    ]
    header = ["Backbone", *(f"{name}, images/s" for name in series)]
    chart = Chart("images a second", labels, series)
    notes = conditions_note(cpu) + conditions_note(cuda)
    return ChartedTable(header, body, notes=notes, chart=chart)


def models(rows: Sequence[Speed]) -> ChartedTable:
    """Complete models, predictions included, on every path that was measured."""
    rows = timed(rows, part="model", mode="infer", precision="fp32")
    paths = list(dict.fromkeys((row.form, row.backend) for row in rows))
    inputs = list(dict.fromkeys((row.model, row.size, row.rois) for row in rows))
    series: Series = {", ".join(path): [] for path in paths}
    labels = [model.split("_8xb4")[0] for model, _, _ in inputs]  # without batch and schedule
    body = []
    for label, (model, size, rois) in zip(labels, inputs, strict=True):
        for form, backend in paths:
            found = pick(rows, model=model, size=size, form=form, backend=backend)
            series[f"{form}, {backend}"].append(figure(found, "median_ms"))
            line = [label, size, rois or NOTHING, f"{form}, {backend}"]
            line += [time_cell(found), shown(figure(found, "ratio"))]
            body.append([*line, shown(figure(found, "peak_mb"), "{:.0f}")])
    header = ["Model", "size", "second stage", "path", "ms", "times reference eager", "peak MB"]
    chart = Chart("ms for an image", labels, series)
    return ChartedTable(header, body, notes=conditions_note(rows), chart=chart)


def counts(rows: Sequence[Speed]) -> ChartedTable:
    """Parameters and multiply-adds of every backbone with every head."""
    found: dict[str, dict[str, Speed]] = {}
    for family, row in newest_counts(rows):
        found.setdefault(backbone_of(row.model), {})[family.head] = row
    body = []
    series: Series = {family.title: [] for family in FAMILIES}

    def cost(backbone: str) -> float | None:
        return figure(found[backbone].get("sem_fpn_40k"), "backbone_gmacs")

    for backbone in sorted(found, key=lambda name: cost(name) or 0.0):
        heads = found[backbone]
        params = figure(heads.get("sem_fpn_40k"), "backbone_params_m")
        line = [backbone, shown(params), shown(cost(backbone))]
        for family in FAMILIES:
            head = heads.get(family.head)
            line += [shown(figure(head, key), "{:.1f}") for key in ("params_m", "gmacs")]
            series[family.title].append(figure(head, "gmacs"))
        body.append(line)
    header = ["Backbone", "M parameters", "GMACs at 512x512"]
    for family in FAMILIES:
        header += [f"{family.title}, M", "GMACs"]
    return ChartedTable(header, body, chart=Chart("GMACs", [line[0] for line in body], series))
