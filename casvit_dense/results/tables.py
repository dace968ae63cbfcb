"""The tables of results: published beside ours, peers as papers print them, speeds.

Figures from elsewhere are marked with a dagger, or their column is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from casvit_dense.results.measurements import Speed
from casvit_dense.results.row import Evaluation
from casvit_dense.results.table import NOTHING, Table, shown
from casvit_dense.results.targets import Target
from casvit_dense.results.verify import COMPARED, Finding, ours, percent
from casvit_dense.zoo import FAMILIES, LISTED_METRICS, MAIN_METRICS, METRICS

QUOTED = "†"
LEGEND = f"{QUOTED} Quoted from its source, not measured here."


@dataclass(frozen=True)
class ModelSize:
    """A complete model, counted here.

    Attributes:
        params_m: parameters in millions, frozen ones included.
        gmacs: multiply-adds in 1e9.
        backbone_params_m: of the backbone without a classifier.
        input: ``HxW`` in pixels, and what a second stage has to do.
    """

    params_m: float
    gmacs: float
    backbone_params_m: float
    input: str


Sizes = Mapping[str, ModelSize]  # by config stem


def verdict_table(findings: Sequence[Finding], sizes: Sizes, caption: str = "") -> Table:
    """A line for each finding, in their order.

    Size, published, ours with its spread over seeds, the band around the published, the verdict.
    """
    rows = []
    for finding in findings:
        size = sizes.get(finding.target.config or "")
        rows.append(
            [
                f"{finding.target.family.title}, {finding.target.backbone}",
                shown(size.params_m if size else None),
                shown(size.gmacs if size else None, "{:.1f}"),
                METRICS[finding.metric].title,
                published(finding.published),
                ours(finding),
                shown(finding.difference, "{:+.2f}"),
                band(finding),
                "; ".join((finding.verdict.value, *finding.reasons, *finding.notes)),
            ]
        )
    columns = ["Model", "M parameters", "GMACs", "Metric", f"Published{QUOTED}", "Ours"]
    columns += ["Difference", "Band", "Verdict"]
    used = [size for f in findings if (size := sizes.get(f.target.config or ""))]
    return Table(columns, rows, caption, [LEGEND, *inputs_note(used)], align="lrrlrrrrl")


def published(value: float) -> str:
    """A published figure with all its digits, and at least one decimal."""
    return f"{value:.1f}" if value == round(value, 1) else f"{value:g}"


def band(finding: Finding) -> str:
    """The range in which a result counts as within."""
    low, high = (finding.published + sign * finding.target.tolerance for sign in (-1, 1))
    return f"{published(round(low, 6))} to {published(round(high, 6))}"


def inputs_note(sizes: Iterable[ModelSize]) -> list[str]:
    """A note on what was counted; ``[]`` where nothing was."""
    inputs = sorted({size.input for size in sizes})
    if not inputs:
        return []
    return [
        "Parameters, frozen ones included, and multiply-adds (GMACs) "
        f"at {'; '.join(inputs)} are counted here."
    ]


def overview_table(targets: Sequence[Target], findings: Sequence[Finding], sizes: Sizes) -> Table:
    """A line for each backbone, a column for each head and metric: published, ours if compared."""
    heads = [
        (family, metric)
        for family in FAMILIES
        for metric in MAIN_METRICS
        if any(target.family is family and metric in target.metrics for target in targets)
    ]
    found = {(f.target.head, f.target.backbone, f.metric): f for f in findings}
    cells: dict[str, dict[tuple[str, str], str]] = {}
    backbones: dict[str, str] = {}
    for target in targets:
        if size := sizes.get(target.config or ""):
            backbones[target.backbone] = shown(size.backbone_params_m)
        for metric, value in target.metrics.items():
            finding = found.get((target.head, target.backbone, metric))
            here = ""
            if finding is not None and finding.verdict in COMPARED:
                here = f"; {ours(finding)} here, {finding.verdict.value}"
            line = cells.setdefault(target.backbone, {})
            line[target.head, metric] = f"{published(value)}{QUOTED}{here}"
    columns = [f"{family.title}, {METRICS[metric].title}" for family, metric in heads]
    keys = [(family.head, metric) for family, metric in heads]
    rows = [
        [name, backbones.get(name, NOTHING), *(line.get(key, NOTHING) for key in keys)]
        for name, line in cells.items()
    ]
    return Table(["Backbone", "M parameters", *columns], rows)


def peer_table(
    targets: Sequence[Target], findings: Sequence[Finding], sizes: Sizes, caption: str = ""
) -> Table:
    """All backbones under one head as papers print them, the smallest model first.

    Where a finding was compared, a line of our figures follows the published ones. Counted sizes
    are preferred to published ones.
    """
    metrics = [m for m in METRICS if any(m in target.metrics for target in targets)]
    sources: dict[str, int] = {}
    rows = []
    for target in sorted(targets, key=lambda target: _order(target, sizes)):
        source = sources.setdefault(target.source, len(sources) + 1)
        cells = _size_cells(target, sizes)
        quoted = [_quoted(target.metrics.get(metric)) for metric in metrics]
        rows.append([target.backbone, *cells, *quoted, f"{source}"])
        here = {f.metric: ours(f) for f in findings if f.target == target if f.verdict in COMPARED}
        if here:
            figures = [here.get(metric, NOTHING) for metric in metrics]
            rows.append([f"{target.backbone}, here", *cells, *figures, NOTHING])
    columns = ["Backbone", "backbone, M", "model, M", "GMACs"]
    counted = [size for target in targets if (size := sizes.get(target.config or ""))]
    notes = [LEGEND, *inputs_note(counted), *_also(targets)]
    notes.append("Sources: " + "; ".join(f"({i}) {text}" for text, i in sources.items()) + ".")
    return Table(
        [*columns, *(METRICS[metric].title for metric in metrics), "Source"], rows, caption, notes
    )


def _order(target: Target, sizes: Sizes) -> tuple[bool, float, str]:
    """Models of known size first, by size; the others by that of their backbone."""
    size = sizes.get(target.config or "")
    model = size.params_m if size else target.params_m
    return model is None, model or target.backbone_params_m or 0.0, target.backbone


def _size_cells(target: Target, sizes: Sizes) -> list[str]:
    """Parameters of backbone and model, multiply-adds: counted, else as published."""
    if size := sizes.get(target.config or ""):
        params = (size.backbone_params_m, size.params_m)
        return [*map(shown, params), shown(size.gmacs, "{:.1f}")]
    return list(map(_quoted, (target.backbone_params_m, target.params_m, target.gflops_512)))


def _quoted(value: float | None) -> str:
    return NOTHING if value is None else f"{published(value)}{QUOTED}"


def _also(targets: Iterable[Target]) -> list[str]:
    """A note on other published figures of mIoU; ``[]`` where there are none."""
    found = [
        f"{target.backbone} {published(value)}{QUOTED} ({where})"
        for target in targets
        for where, value in target.also.items()
    ]
    return [f"Other published figures: {'; '.join(found)}."] if found else []


def evaluation_table(rows: Sequence[Evaluation], caption: str = "") -> Table:
    """Results one by one, the newest first, without a comparison."""
    metrics = [m for m in LISTED_METRICS if any(percent(row, m) is not None for row in rows)]
    titles = [METRICS[metric].title for metric in metrics]
    cells = []
    for row in sorted(rows, key=lambda row: row.date, reverse=True):
        figures = [shown(percent(row, metric)) for metric in metrics]
        data = [row.config, row.dataset.name, str(row.dataset.images)]
        cells.append([*data, *figures, conditions(row), row.device, f"{row.date:%Y-%m-%d}"])
    return Table(
        ["Model", "Data set", "images", *titles, "Form, backend, precision", "Device", "Date"],
        cells,
        caption,
        align="ll" + "r" * (len(metrics) + 1) + "lll",
    )


def speed_table(rows: Sequence[Speed], caption: str = "") -> Table:
    """Time, memory and work, one line per row, in their order."""
    columns = ["Model", "Mode", "Input", "Form, backend, precision", "Device"]
    figures = ["M parameters", "GMACs", "ms (10th to 90th percentile)", "images/s", "peak MB"]
    cells = [
        [
            row.model,
            row.mode,
            f"{row.batch} x {row.size}",
            conditions(row),
            f"{row.device}, {row.threads} threads",
            shown(row.params_m),
            shown(row.gmacs, "{:.1f}"),
            time_cell(row),
            shown(row.images_per_s, "{:.1f}"),
            shown(row.peak_mb, "{:.0f}"),
        ]
        for row in rows
    ]
    align = "l" * len(columns) + "r" * len(figures)
    return Table([*columns, *figures], cells, caption, align=align)


def conditions(row: Evaluation | Speed) -> str:
    """The form of the network, what ran it, and its precision."""
    return f"{row.form}, {row.backend}, {row.precision}"


def time_cell(row: Speed | None) -> str:
    """Median in ms, with 10th and 90th percentile where they are known; or that it failed."""
    if row is None:
        return NOTHING
    if row.error:
        return "failed"
    if row.median_ms is None or row.p10_ms is None or row.p90_ms is None:
        return shown(row.median_ms)
    digits = 2 if row.median_ms < 10 else 1 if row.median_ms < 100 else 0
    return f"{row.median_ms:.{digits}f} ({row.p10_ms:.{digits}f} to {row.p90_ms:.{digits}f})"
