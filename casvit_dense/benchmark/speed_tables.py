"""Tables of our backbones: inference, training, area, on CPU and GPU."""

from collections.abc import Iterable, Sequence

from casvit_dense.benchmark.cases import (
    CPU_BACKENDS,
    GPU_BATCHES,
    GPU_SIZES,
    INFERENCE_FORMS,
    PLAIN,
    RUNTIMES,
    SCALING_SIDES,
    TRAINING_BATCH,
    TRAINING_FORMS,
    BenchmarkCase,
    variants,
)
from casvit_dense.benchmark.tables import (
    Chart,
    ChartedTable,
    conditions_note,
    figure,
    geometric_mean,
    matching,
    newest_machine,
    pick,
    time_cell,
)
from casvit_dense.results.row import Speed
from casvit_dense.results.table import NOTHING, shown

VARIANTS = variants()
LETTERS = [name.removeprefix(PLAIN) for name in VARIANTS]
PATHS = [(form, backend) for backend in CPU_BACKENDS for form in INFERENCE_FORMS]


def timed(rows: Sequence[Speed], **fields: object) -> list[Speed]:
    """Rows of the newest machine that were timed under some conditions.

    Ratios to anything but the reference in eager fp32 have no place in a table.
    """
    bases = (None, BenchmarkCase().label)  # a failure has none
    found = [row for row in matching(rows, **fields) if row.mode != "count" and row.base in bases]
    return newest_machine(found)


def at_512(rows: Sequence[Speed]) -> list[Speed]:
    """Inference in fp32 on one image of 512x512 on the CPU."""
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


def ours_at_512(rows: Sequence[Speed]) -> list[Speed]:
    """The same of our backbones alone."""
    return [row for row in at_512(rows) if row.model in VARIANTS]


def inference(rows: Sequence[Speed]) -> ChartedTable:
    """Every path and variant: time, and how many times as fast as the reference."""
    rows = ours_at_512(rows)
    body, series = [], {}
    for form, backend in PATHS:
        found = [pick(rows, model=name, form=form, backend=backend) for name in VARIANTS]
        means = [
            geometric_mean([figure(row, column) for row in found])
            for column in ("ratio", "form_ratio")
        ]
        path = f"{form}, {backend}"
        body.append([path, *map(time_cell, found), *(shown(mean) for mean in means)])
        series[path] = [figure(row, "ratio") for row in found]
    header = ["Path", *(f"{letter}, ms" for letter in LETTERS)]
    header += ["times reference eager", "times reference here"]
    chart = Chart("times as fast as the reference in eager mode", LETTERS, series)
    return ChartedTable(header, body, notes=conditions_note(rows), chart=chart)


def best_path(rows: Sequence[Speed], model: str) -> Speed | None:
    """The row of the fastest path of a model."""
    found = [pick(rows, model=model, form=form, backend=backend) for form, backend in PATHS]
    return fastest(row for row in found if row is not None)


def fastest(rows: Iterable[Speed]) -> Speed | None:
    """The row of the least time, without those that failed."""
    times = {row.median_ms: row for row in rows if row.median_ms and not row.error}
    return times[min(times)] if times else None


def shares(rows: Sequence[Speed]) -> ChartedTable:
    """The fastest path of each variant, and its share of what the machine can do."""
    rows = ours_at_512(rows)
    best = [best_path(rows, name) for name in VARIANTS]
    percent = "{:.0%}"
    body = [
        [
            letter,
            f"{row.form}, {row.backend}" if row else NOTHING,
            time_cell(row),
            shown(figure(row, "ratio")),
            shown(figure(row, "gmacs")),
            shown(figure(row, "matmul_share"), percent),
            shown(figure(row, "roofline_share"), percent),
        ]
        for letter, row in zip(LETTERS, best, strict=True)
    ]
    mean = geometric_mean([figure(row, "ratio") for row in best])
    body.append(["geometric mean", "", "", shown(mean), "", "", ""])
    header = ["Variant", "fastest path", "ms", "times reference eager", "GMACs"]
    header += ["of matrix product", "of roofline"]
    series = {
        name: [figure(row, column) for row in best]
        for name, column in (
            ("of the best matrix product", "matmul_share"),
            ("of the roofline", "roofline_share"),
        )
    }
    chart = Chart("share of the machine's rate", LETTERS, series)
    return ChartedTable(
        header, body, notes=conditions_note([row for row in best if row]), chart=chart
    )


def memory(rows: Sequence[Speed]) -> ChartedTable:
    """Peak memory of every path and variant."""
    rows = ours_at_512(rows)
    series = {
        f"{form}, {backend}": [
            figure(pick(rows, model=name, form=form, backend=backend), "peak_mb")
            for name in VARIANTS
        ]
        for form, backend in PATHS
    }
    body = [[path, *(shown(v, "{:.0f}") for v in values)] for path, values in series.items()]
    header = ["Path", *(f"{letter}, MB" for letter in LETTERS)]
    chart = Chart("peak memory, MB", LETTERS, series)
    return ChartedTable(header, body, notes=conditions_note(rows), chart=chart)


def training(rows: Sequence[Speed]) -> ChartedTable:
    """Forward and backward: time, saved activations, peak memory, against the reference."""
    rows = timed(rows, mode="train", device_type="cpu", backend="eager", precision="fp32")
    rows = matching(rows, size="512x512", batch=TRAINING_BATCH)
    body: list[list[str]] = []
    times: dict[str, list[float | None]] = {form: [] for form in TRAINING_FORMS}
    saved: dict[str, list[float | None]] = {form: [] for form in TRAINING_FORMS}
    for letter, model in zip(LETTERS, VARIANTS, strict=True):
        reference = figure(pick(rows, model=model, form="reference"), "saved_mb")
        for form in ("reference", *TRAINING_FORMS):
            row = pick(rows, model=model, form=form)
            speed, kept = figure(row, "ratio"), figure(row, "saved_mb")
            time_share = None if speed is None else 1 / speed
            saved_share = None if kept is None or reference is None else kept / reference
            if form in times:
                times[form].append(time_share)
                saved[form].append(saved_share)
            figures = [kept, figure(row, "peak_mb")]
            body.append(
                [
                    f"{letter}, {form}",
                    *(time_cell(row), shown(time_share)),
                    *(shown(figures[0], "{:.0f}"), shown(saved_share)),
                    shown(figures[1], "{:.0f}"),
                ]
            )
    for form in TRAINING_FORMS:
        means = [shown(geometric_mean(found[form])) for found in (times, saved)]
        body.append([f"geometric mean, {form}", "", means[0], "", means[1], ""])
    header = ["Variant and form", "ms", "of reference", "saved MB", "of reference", "peak MB"]
    series = {f"{form}, time": times[form] for form in TRAINING_FORMS}
    series |= {f"{form}, saved": saved[form] for form in TRAINING_FORMS}
    chart = Chart("share of the reference", LETTERS, series)
    return ChartedTable(header, body, notes=conditions_note(rows), chart=chart)


def scaling(rows: Sequence[Speed]) -> ChartedTable:
    """Time for a pixel at rising areas, relative to 512x512."""
    model = VARIANTS[0]
    rows = timed(rows, mode="infer", model=model, batch=1, precision="fp32", device_type="cpu")
    paths = [("reference", "eager"), *(("fused", runtime) for runtime in RUNTIMES)]
    series: dict[str, list[float | None]] = {}
    found: dict[tuple[str, int], Speed | None] = {}
    for form, backend in paths:
        path = f"{form}, {backend}"
        for side in SCALING_SIDES:
            found[path, side] = pick(rows, size=f"{side}x{side}", form=form, backend=backend)
        base = figure(found[path, 512], "median_ms")
        series[path] = []
        for side in SCALING_SIDES:
            time = figure(found[path, side], "median_ms")
            whole = None if time is None or base is None else time / side**2 / (base / 512**2)
            series[path].append(whole)
    body = [
        [
            f"{side}x{side}",
            *(cell for p in series for cell in (time_cell(found[p, side]), shown(series[p][i]))),
        ]
        for i, side in enumerate(SCALING_SIDES)
    ]
    header = ["Size", *(text for path in series for text in (f"{path}, ms", "a pixel"))]
    labels = [str(side) for side in SCALING_SIDES]
    chart = Chart("time for a pixel, relative to 512x512", labels, series, lines=True)
    used = [row for row in found.values() if row is not None]
    return ChartedTable(header, body, notes=conditions_note(used), chart=chart)


GPU_PATHS = (
    ("reference", "fp32", "eager"),
    ("reference", "autocast", "eager"),
    ("fused", "fp32", "eager"),
    ("fused", "bf16", "eager"),
    ("fused", "bf16", "cudagraphs"),
)
GPU_TRAINING_PATHS = (
    *GPU_PATHS[:2],
    *((form, "bf16", "eager") for form in ("fused-memory", "fused-time")),
    ("fused-time", "bf16", "cudagraphs"),
)
GPU_INPUTS = [(f"{h}x{w}", batch) for h, w in GPU_SIZES for batch in GPU_BATCHES]


def gpu_inference(rows: Sequence[Speed]) -> ChartedTable:
    """Every path and variant at both sizes and batches."""
    return _gpu_table(timed(rows, mode="infer", device_type="cuda", part="backbone"), GPU_PATHS)


def gpu_training(rows: Sequence[Speed]) -> ChartedTable:
    """The same, forward and backward."""
    return _gpu_table(
        timed(rows, mode="train", device_type="cuda", part="backbone"), GPU_TRAINING_PATHS
    )


def _gpu_table(rows: Sequence[Speed], paths: Sequence[tuple[str, str, str]]) -> ChartedTable:
    found = {
        (path, model, at): pick(
            rows,
            model=model,
            form=path[0],
            precision=path[1],
            backend=path[2],
            size=at[0],
            batch=at[1],
        )
        for path in paths
        for model in VARIANTS
        for at in GPU_INPUTS
    }
    body = [
        [f"{letter}, {', '.join(path)}", *(time_cell(found[path, model, at]) for at in GPU_INPUTS)]
        for letter, model in zip(LETTERS, VARIANTS, strict=True)
        for path in paths
    ]

    def means(path: tuple[str, str, str], column: str) -> list[float | None]:
        return [
            geometric_mean([figure(found[path, model, at], column) for model in VARIANTS])
            for at in GPU_INPUTS
        ]

    series = {}
    for path in paths[1:]:
        name = ", ".join(path)
        series[name] = means(path, "ratio")
        body.append([f"times reference fp32: {name}", *map(shown, series[name])])
        copies = means(path, "copy_share")
        body.append([f"share of the copy rate: {name}", *(shown(c, "{:.0%}") for c in copies)])
    labels = [f"{size}, batch {batch}" for size, batch in GPU_INPUTS]
    header = ["Variant and path", *(f"{label}, ms" for label in labels)]
    chart = Chart("times as fast as the reference in fp32", labels, series)
    return ChartedTable(header, body, notes=conditions_note(rows), chart=chart)
