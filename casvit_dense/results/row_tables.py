"""Tables of rows as they are, without anything to compare them with."""

from collections.abc import Sequence

from casvit_dense.results.names import METRIC_NAMES
from casvit_dense.results.row import Evaluation, Speed
from casvit_dense.results.table import Table, milliseconds, shown
from casvit_dense.results.verify import METRICS, percent


def evaluation_table(rows: Sequence[Evaluation], caption: str = "") -> Table:
    """Results one by one, the newest first, whatever they can be compared with."""
    metrics = [m for m in METRICS if any(percent(row, m) is not None for row in rows)]
    return Table(
        [
            *("Model", "Data set", "images"),
            *(METRIC_NAMES[metric] for metric in metrics),
            *("Form, backend, precision", "Device", "Date"),
        ],
        [
            [
                *(row.config, row.dataset.name, f"{row.dataset.images}"),
                *(shown(percent(row, metric)) for metric in metrics),
                *(how(row), row.device, f"{row.date:%Y-%m-%d}"),
            ]
            for row in sorted(rows, key=lambda row: row.date, reverse=True)
        ],
        caption,
        align="ll" + "r" * (len(metrics) + 1) + "lll",
    )


def speed_table(rows: Sequence[Speed], caption: str = "") -> Table:
    """Speed, memory and work, a line a row, in their order."""
    columns = ["Model", "Mode", "Input", "Form, backend, precision", "Device"]
    figures = ["M parameters", "GMACs", "ms (10th to 90th percentile)", "images/s", "peak MB"]
    return Table(
        [*columns, *figures],
        [
            [
                *(row.model, row.mode, f"{row.batch} x {row.size}"),
                *(how(row), f"{row.device}, {row.threads} threads"),
                *(shown(row.params_m), shown(row.gmacs, "{:.1f}")),
                *(_time(row), shown(_rate(row), "{:.1f}"), shown(row.peak_mb, "{:.0f}")),
            ]
            for row in rows
        ],
        caption,
        align="l" * len(columns) + "r" * len(figures),
    )


def how(row: Evaluation | Speed) -> str:
    """In which form, by what, and with which numbers a network ran."""
    return f"{row.form}, {row.backend}, {row.precision}"


def _time(row: Speed) -> str:
    if row.error:
        return "failed"
    if row.median_ms is None or row.p10_ms is None or row.p90_ms is None:
        return shown(row.median_ms)
    return milliseconds(row.median_ms, row.p10_ms, row.p90_ms)


def _rate(row: Speed) -> float | None:
    return 1e3 * row.batch / row.median_ms if row.median_ms else None
