"""The tables of results: published beside ours, peers as papers print them, speeds.

Figures from elsewhere are marked with a dagger, or their column is.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from casvit_dense.results.boards import Board, Entry
from casvit_dense.results.costs import CLASSIFIER, PUBLISHED, Axis, ModelSize, Sizes, size_of
from casvit_dense.results.measurements import Speed
from casvit_dense.results.row import Evaluation
from casvit_dense.results.table import NOTHING, Table, shown
from casvit_dense.results.targets import Target
from casvit_dense.results.verify import COMPARED, Finding, ours
from casvit_dense.zoo import FAMILIES, MAIN_METRICS, METRICS

QUOTED = "†"
LEGEND = f"{QUOTED} Quoted from its source, not measured here."


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


def board_table(board: Board) -> Table:
    """Every model of a data set: sizes, work, time where it was measured, figures, their source.

    What is quoted has a dagger. Counted sizes are preferred to published ones.
    """
    entries = board.entries
    heads = len({entry.head for entry in entries}) > 1
    metrics = [
        m
        for m, metric in METRICS.items()
        if any(m in entry.metrics for entry in entries if metric.listed or entry.target)
    ]
    work, time = shared_axis(entries, "gmacs/model/"), shared_axis(entries, "ms/infer/")
    sources: dict[str, int] = {}
    rows = []
    for entry in entries:
        source = _here(entry)
        if entry.target:
            source = f"({sources.setdefault(entry.target.source, len(sources) + 1)})"
        rows.append(
            [
                entry.name,
                *([entry.head or NOTHING] if heads else []),
                _cost(entry, size_of("backbone"), CLASSIFIER),
                _cost(entry, size_of("model")),
                _work(entry, work),
                *([_cost(entry, time)] if time else []),
                *(figure_cell(entry, metric) for metric in metrics),
                source,
            ]
        )
    columns = ["Model", *["Head"] * heads, "backbone, M", "model, M", "GMACs", *["ms"] * bool(time)]
    titles = [METRICS[metric].title for metric in metrics]
    quoted = [entry.target for entry in entries if entry.target]
    notes = [LEGEND] if quoted else []
    notes += costs_note(work, time)
    notes += _also(quoted)
    if sources:
        notes.append("Sources: " + "; ".join(f"({i}) {text}" for text, i in sources.items()) + ".")
    align = "l" * (1 + heads) + "r" * (len(columns) - 1 - heads + len(titles)) + "l"
    caption = f"{board.title}: {board.about}."
    return Table([*columns, *titles, "Source"], rows, caption, notes, align)


def shared_axis(entries: Sequence[Entry], kind: str) -> Axis | None:
    """The cost whose key begins so that most models have, those evaluated here before others."""
    found = Counter[Axis]()
    for entry in entries:
        weight = 1 + len(entries) * bool(entry.rows)
        found.update({axis: weight for axis in entry.cost if axis.key.startswith(kind)})
    return max(found, key=lambda axis: found[axis], default=None)


def costs_note(work: Axis | None, time: Axis | None) -> list[str]:
    """What the columns of costs were counted and measured at."""
    found = []
    if work:
        found.append(
            "Parameters, frozen ones included, and multiply-adds (GMACs, "
            f"at {_size(work)} unless said) are counted here."
        )
    return found + ([f"Time: {time.label}."] if time else [])


def figure_cell(entry: Entry, metric: str) -> str:
    """A figure: quoted with a dagger, or ours with its spread."""
    value, spread = entry.metrics.get(metric), entry.spread.get(metric)
    if entry.target:
        return _quoted(value)
    return shown(value) + (f" ± {spread:.2f}" if spread is not None else "")


def _cost(entry: Entry, *axes: Axis) -> str:
    """The first of some costs that is known."""
    value, source = next((entry.cost[axis] for axis in axes if axis in entry.cost), (None, ""))
    return _quoted(value) if source == PUBLISHED else shown(value)


def _work(entry: Entry, axis: Axis | None) -> str:
    """Multiply-adds, with the size of the image where it is not the table's."""
    if axis is None or axis in entry.cost:
        return _gmacs(*entry.cost[axis]) if axis else NOTHING
    others = (one for one in entry.cost if one.key.startswith("gmacs/model/"))
    found = next(others, None)
    return f"{_gmacs(*entry.cost[found])} at {_size(found)}" if found else NOTHING


def _gmacs(value: float, source: str) -> str:
    digits = 1 if value >= 10 else 2 if value >= 0.1 else 4
    return _quoted(value) if source == PUBLISHED else f"{value:.{digits}f}"


def _size(axis: Axis) -> str:
    return axis.key.rpartition("/")[2]


def _here(entry: Entry) -> str:
    """How and when a model was evaluated here."""
    return f"here, {conditions(entry.rows[0])}, {entry.rows[0].date:%Y-%m-%d}" if entry.rows else ""


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


def speed_table(rows: Sequence[Speed], caption: str = "") -> Table:
    """Time, memory and work, one line per row, in their order."""
    columns = ["Model", "Part", "Mode", "Input", "Form, backend, precision", "Device"]
    figures = ["M parameters", "GMACs", "ms (10th to 90th percentile)", "images/s", "peak MB"]
    cells = [
        [
            row.model,
            row.part,
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
