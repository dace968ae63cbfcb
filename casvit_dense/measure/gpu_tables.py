"""Tables of the GPU suite."""

from collections.abc import Sequence

from casvit_dense.measure.cpu_tables import LETTERS, timed
from casvit_dense.measure.rows import Row
from casvit_dense.measure.suites import GPU_BATCHES, GPU_SIZES, VARIANTS
from casvit_dense.measure.tables import (
    Chart,
    ChartedTable,
    conditions_note,
    geometric_mean,
    number,
    pick,
    time_cell,
)
from casvit_dense.results.table import shown

PATHS = (
    ("reference", "fp32", "eager"),
    ("reference", "autocast", "eager"),
    ("fused", "fp32", "eager"),
    ("fused", "bf16", "eager"),
    ("fused", "bf16", "cudagraphs"),
)
TRAINING_PATHS = (
    *PATHS[:2],
    *((form, "bf16", "eager") for form in ("fused-memory", "fused-time")),
    ("fused-time", "bf16", "cudagraphs"),
)
INPUTS = [(f"{h}x{w}", str(batch)) for h, w in GPU_SIZES for batch in GPU_BATCHES]


def inference(rows: Sequence[Row]) -> ChartedTable:
    """Every path and variant at both sizes and batches."""
    return _table(timed(rows, mode="infer", device="cuda", part="backbone"), PATHS)


def training(rows: Sequence[Row]) -> ChartedTable:
    """The same, forward and backward."""
    return _table(timed(rows, mode="train", device="cuda", part="backbone"), TRAINING_PATHS)


def _table(rows: Sequence[Row], paths: Sequence[tuple[str, str, str]]) -> ChartedTable:
    found = {
        (path, model, at): pick(
            rows,
            **dict(model=model, form=path[0], dtype=path[1], backend=path[2]),
            **dict(size=at[0], batch=at[1]),
        )
        for path in paths
        for model in VARIANTS
        for at in INPUTS
    }
    body = [
        [f"{letter}, {', '.join(path)}", *(time_cell(found[path, model, at]) for at in INPUTS)]
        for letter, model in zip(LETTERS, VARIANTS, strict=True)
        for path in paths
    ]

    def means(path: tuple[str, str, str], column: str) -> list[float | None]:
        return [
            geometric_mean([number(found[path, model, at], column) for model in VARIANTS])
            for at in INPUTS
        ]

    series = {}
    for path in paths[1:]:
        name = ", ".join(path)
        series[name] = means(path, "ratio")
        body.append([f"times reference fp32: {name}", *map(shown, series[name])])
        copies = means(path, "copy_share")
        body.append([f"share of the copy rate: {name}", *(shown(c, "{:.0%}") for c in copies)])
    labels = [f"{size}, batch {batch}" for size, batch in INPUTS]
    header = ["Variant and path", *(f"{label}, ms" for label in labels)]
    chart = Chart("times as fast as the reference in fp32", labels, series)
    return ChartedTable(header, body, notes=conditions_note(rows), chart=chart)
