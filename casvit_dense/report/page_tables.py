"""The tables of the page: results, speeds, commands and environments."""

from collections.abc import Mapping, Sequence

from casvit_dense.report.grid import (
    NOTHING,
    Cell,
    Column,
    Grid,
    number_cell,
    significant,
    three_digits,
)
from casvit_dense.results.boards import Board, Entry, title_of
from casvit_dense.results.costs import CLASSIFIER, MEASURED, PUBLISHED, Axis, size_of
from casvit_dense.results.lines import Row
from casvit_dense.results.measurements import Speed
from casvit_dense.results.row import Evaluation
from casvit_dense.results.tables import (
    QUOTED,
    conditions,
    costs_note,
    figure_cell,
    published,
    shared_axis,
)
from casvit_dense.results.verify import Finding, Verdict, ours
from casvit_dense.zoo import LISTED_METRICS, METRICS

#: What a reader looks for first.
VERDICT_ORDER = (
    Verdict.BELOW,
    Verdict.ABOVE,
    Verdict.WITHIN,
    Verdict.NOT_COMPARABLE,
    Verdict.NOT_RUN,
)

VERDICTS_ABOUT = (
    "A result is within if it differs from the published figure by no more than the band, by which "
    "runs of one recipe differ. It is not comparable if data, images, test pipeline or training "
    "are others; the table says which. Below a published figure its band; ± beside ours is the "
    "standard deviation over seeds."
)

#: Rows that are shown at first, even if fewer models were run.
MIN_SHOWN = 8

#: A sign next to the word, for readers who cannot distinguish the colours.
SIGNS = {
    Verdict.WITHIN: "✓",
    Verdict.ABOVE: "▲",
    Verdict.BELOW: "▼",
    Verdict.NOT_COMPARABLE: "≠",
    Verdict.NOT_RUN: "○",
}


def verdict_grid(findings: Sequence[Finding]) -> Grid:
    """Published figures, ours, and the verdicts."""
    columns = (
        Column("Model"),
        Column("Head", choose=True),
        Column("Metric", choose=True),
        Column("Published", number=True),
        Column("Ours", number=True),
        Column("Difference", number=True),
        Column("Verdict", choose=True),
        Column("Source of the published figure"),
    )
    ordered = sorted(findings, key=lambda finding: VERDICT_ORDER.index(finding.verdict))
    run = sum(finding.verdict is not Verdict.NOT_RUN for finding in findings)
    return Grid(
        "verdicts",
        "Against published figures",
        "Published figures and ours, in percent",
        columns,
        [_finding_cells(finding) for finding in ordered],
        shown=max(run, MIN_SHOWN),
        about=VERDICTS_ABOUT,
    )


def _finding_cells(finding: Finding) -> list[Cell]:
    target, verdict = finding.target, finding.verdict
    return [
        Cell(target.backbone, note=target.config or ""),
        Cell(target.family.title),
        Cell(METRICS[finding.metric].title),
        Cell(published(finding.published), finding.published, f"± {target.tolerance:.1f}"),
        _ours_cell(finding),
        number_cell(finding.difference, "{:+.2f}"),
        Cell(
            f"{SIGNS[verdict]} {verdict.value}",
            VERDICT_ORDER.index(verdict),
            "; ".join((*finding.reasons, *finding.notes)),
            verdict.name.lower().replace("_", "-"),
        ),
        Cell("", target.source, target.source),
    ]


def _ours_cell(finding: Finding) -> Cell:
    """Our figure, and of how many rows it is the mean."""
    if finding.ours is None:
        return Cell(NOTHING)
    count = len(finding.rows)
    return Cell(ours(finding), finding.ours, f"{count} seeds" * (count > 1))


def board_grid(board: Board, number: int = 1) -> Grid:
    """Every model of a data set, with its costs; those evaluated here first.

    Args:
        board: see `Board`.
        number: tells the page's tables of this kind apart.
    """
    entries = sorted(board.entries, key=lambda entry: not entry.rows)
    heads = len({entry.head for entry in entries}) > 1
    metrics = [m for m in LISTED_METRICS if any(m in entry.metrics for entry in entries)]
    work, time = shared_axis(entries, "gmacs/model/"), shared_axis(entries, "ms/infer/")
    costs = {
        "Backbone, M": (size_of("backbone"), CLASSIFIER),
        "Model, M": (size_of("model"),),
        "GMACs": (work,),
        "ms": (time,),
    }
    known = {axis for entry in entries for axis in entry.cost}
    costs = {title: axes for title, axes in costs.items() if known & {*axes}}
    columns = (
        Column("Model"),
        *([Column("Head", choose=True)] if heads else []),
        *(Column(title, number=True) for title in costs),
        *(Column(METRICS[name].title, number=True) for name in metrics),
        Column("From", choose=True),
    )
    rows = [
        [
            Cell(entry.name, note=entry.config or ""),
            *([Cell(entry.head or NOTHING)] if heads else []),
            *(_cost_cell(entry, axes) for axes in costs.values()),
            *(_figure_cell(entry, name) for name in metrics),
            _from_cell(entry),
        ]
        for entry in entries
    ]
    about = [f"{board.about}; figures in percent.", *costs_note(work, time)]
    measured = sum(bool(entry.rows) for entry in entries)
    return Grid(
        f"board-{number}",
        board.title,
        f"Models on {board.title}",
        columns,
        rows,
        shown=max(measured, MIN_SHOWN),
        about=" ".join(about),
    )


def _cost_cell(entry: Entry, axes: Sequence[Axis | None]) -> Cell:
    """The first of some costs that is known; what was published says so."""
    found = next((entry.cost[axis] for axis in axes if axis in entry.cost), None)
    if found is None:
        return Cell(NOTHING)
    value, source = found
    return significant(value, note=PUBLISHED * (source == PUBLISHED and bool(entry.rows)))


def _figure_cell(entry: Entry, metric: str) -> Cell:
    text = figure_cell(entry, metric).rstrip(QUOTED)
    value = entry.metrics.get(metric)
    return Cell(NOTHING) if value is None else Cell(text, float(value))


def _from_cell(entry: Entry) -> Cell:
    if entry.target:
        return Cell(PUBLISHED, note=entry.target.source)
    row = entry.rows[0]
    seeds = f", {len(entry.rows)} seeds" * (len(entry.rows) > 1)
    return Cell(MEASURED, note=f"{conditions(row)}, {row.date:%Y-%m-%d}{seeds}")


MODES = {"infer": "inference", "train": "training step", "count": "counted only"}

SPEED_COLUMNS = (
    Column("Model"),
    Column("Part", choose=True),
    Column("Mode", choose=True),
    Column("Backend", choose=True),
    Column("Form", choose=True),
    Column("Precision", choose=True),
    Column("Size", choose=True),
    Column("Batch", number=True),
    Column("Median, ms", number=True),
    Column("Peak, MB", number=True),
    Column("Parameters, M", number=True),
    Column("GMACs", number=True),
    Column("Device", choose=True),
    Column("Date"),
)


def speed_grid(rows: Sequence[Speed]) -> Grid:
    """Every row of time, memory and work."""
    ordered = sorted(rows, key=lambda row: (row.part, row.model, row.mode, row.backend, row.form))
    return Grid(
        "speeds",
        "Networks",
        "Time, memory and work; beneath a median its 10th and 90th percentile",
        SPEED_COLUMNS,
        [_speed_cells(row) for row in ordered],
    )


def _speed_cells(row: Speed) -> list[Cell]:
    threads = f"{row.threads} thread{'s' * (row.threads > 1)}"
    busy = "" if row.other_load is None else f", {row.other_load:.1f} cores busy elsewhere"
    return [
        Cell(row.model),
        Cell(row.part),
        Cell(MODES.get(row.mode, row.mode)),
        Cell(row.backend),
        Cell(row.form),
        Cell(row.precision),
        Cell(row.size, area(row.size)),
        Cell(str(row.batch), float(row.batch)),
        Cell("failed", note=row.error) if row.error else significant(row.median_ms, _span(row)),
        significant(row.peak_mb),
        significant(row.params_m),
        significant(row.gmacs),
        Cell(row.device, note=threads + busy),
        Cell(f"{row.date:%Y-%m-%d}", row.date.isoformat()),
    ]


def _span(row: Speed) -> str:
    if row.p10_ms is None or row.p90_ms is None:
        return ""
    return f"{three_digits(row.p10_ms)} to {three_digits(row.p90_ms)}"


def area(size: str) -> float | None:
    """Pixels of ``HxW``, to sort by; None where it is something else."""
    height, _, width = size.partition("x")
    return float(int(height) * int(width)) if height.isdigit() and width.isdigit() else None


def cell_grid(name: str, rows: Sequence[Mapping[str, str]]) -> Grid:
    """Rows of another kind, field by field; values are text, empty or missing where there is none.

    Values that all rows have in common are given once, above the table.
    """
    titles = dict.fromkeys(title for row in rows for title in row)
    values = {title: {row.get(title, "") for row in rows} for title in titles}
    same = [f"{_heading(t)} {v}" for t, (v, *more) in values.items() if v and not more]
    shown = [title for title in titles if len(values[title]) > 1]
    shown.sort(key=lambda title: title == "date")  # last
    numeric = {title for title in shown if all(map(_is_number, values[title]))}
    columns = [Column(_heading(title), number=title in numeric) for title in shown]
    cells = [[_cell(row.get(title, ""), title in numeric) for title in shown] for row in rows]
    about = f"In all rows: {', '.join(same)}." if same else ""
    return Grid(name, name, f"Rows of kind {name}", columns, cells, shown=10, about=about)


def _heading(title: str) -> str:
    return title.replace("_", " ")


def _cell(text: str, numeric: bool) -> Cell:
    return Cell(text or NOTHING, float(text) if numeric and text else None)


def _is_number(text: str) -> bool:
    try:
        return not text or float(text) is not None
    except ValueError:
        return False


NOT_RECORDED = "not recorded"


def facts_of(row: Row) -> dict[str, str]:
    """Device, software and code of a row."""
    software = row.software
    commit = f"{software.commit or NOT_RECORDED}{' with changes' if software.dirty else ''}"
    versions = [f"{name} {version}" for name, version in software.versions.items()]
    facts = {
        "Device": row.device,
        "Threads": str(row.threads),
        "Python": software.python,
        "Versions": ", ".join(versions),
        "Commit": commit,
    }
    return {heading: fact for heading, fact in facts.items() if fact}


def environments(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The facts of all rows, equal ones once; `_label` names them by their place."""
    distinct = dict.fromkeys(tuple(facts_of(row).items()) for row in rows)
    return [dict(facts) for facts in distinct]


def _label(place: int) -> str:
    return f"E{place + 1}"


def _what_it_made(rows: Sequence[Row]) -> str:
    first = rows[0]
    if isinstance(first, Evaluation):
        return f"accuracy of {first.config} on {title_of(first.dataset)}"
    models = list(dict.fromkeys(row.model for row in rows if isinstance(row, Speed)))
    shown = ", ".join(models[:3])
    return f"speed of {shown}{f' and {len(models) - 3} more' if len(models) > 3 else ''}"


def command_grid(rows: Sequence[Row], known: Sequence[dict[str, str]]) -> Grid:
    """Every command once for every one of the known `environments` in which it ran."""
    groups: dict[tuple[int, str | None, str], list[Row]] = {}
    for row in rows:
        # Rows without a command are grouped by what they measure.
        made = row.config if isinstance(row, Evaluation) else "speed"
        groups.setdefault((known.index(facts_of(row)), row.command, made), []).append(row)
    columns = (Column("What"), Column("Environment", choose=True), Column("Command"))
    cells = [
        [
            Cell(_what_it_made(group), note=f"{len(group)} row{'s' * (len(group) > 1)}"),
            Cell(_label(place)),
            Cell(command, mark="command") if command else Cell(NOT_RECORDED),
        ]
        for (place, command, _), group in groups.items()
    ]
    return Grid("commands", "Commands", "The command behind every row", columns, cells)


def environment_grid(known: Sequence[dict[str, str]]) -> Grid:
    """The table of environments."""
    headings = list(dict.fromkeys(heading for facts in known for heading in facts))
    columns = (Column("Environment"), *(Column(h, number=h == "Threads") for h in headings))
    rows = [
        [Cell(_label(place)), *(_environment_cell(h, facts.get(h, NOTHING)) for h in headings)]
        for place, facts in enumerate(known)
    ]
    return Grid("environments", "Environments", "What ran it", columns, rows)


def _environment_cell(heading: str, fact: str) -> Cell:
    """Versions are many, so they may wrap."""
    return Cell("", fact, fact) if heading == "Versions" else Cell(fact)
