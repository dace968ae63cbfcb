"""Tables of measured speeds."""

from collections.abc import Mapping, Sequence

from casvit_dense.report.grid import NOTHING, Cell, Column, Grid, significant, three_digits
from casvit_dense.results.row import Speed

MODES = {"infer": "inference", "train": "training step", "count": "counted only"}

COLUMNS = (
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
        COLUMNS,
        [_cells(row) for row in ordered],
    )


def _cells(row: Speed) -> list[Cell]:
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
    """Rows of another kind, field by field.

    What all rows agree in is said once, above the table.

    Args:
        name: of the kind.
        rows: text by field; empty or missing where there is none.
    """
    titles = dict.fromkeys(title for row in rows for title in row)
    values = {title: {row.get(title, "") for row in rows} for title in titles}
    same = [f"{_words(t)} {v}" for t, (v, *more) in values.items() if v and not more]
    shown = [title for title in titles if len(values[title]) > 1]
    shown.sort(key=lambda title: title == "date")  # last
    numeric = {title for title in shown if all(map(_is_number, values[title]))}
    columns = [Column(_words(title), number=title in numeric) for title in shown]
    cells = [[_cell(row.get(title, ""), title in numeric) for title in shown] for row in rows]
    about = f"In all rows: {', '.join(same)}." if same else ""
    return Grid(name, name, f"Rows of kind {name}", columns, cells, shown=10, about=about)


def _words(title: str) -> str:
    return title.replace("_", " ")


def _cell(text: str, numeric: bool) -> Cell:
    return Cell(text or NOTHING, float(text) if numeric and text else None)


def _is_number(text: str) -> bool:
    try:
        return not text or float(text) is not None
    except ValueError:
        return False
