"""Rows of the benchmark's CSV files as rows of the ledger."""

import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from casvit_dense.commit import split_commit
from casvit_dense.errors import UserError
from casvit_dense.measure.rows import text_of
from casvit_dense.results.ledger import append_rows
from casvit_dense.results.row import Software, Speed

#: Columns -> fields of a row.
FIELDS = {
    **{
        name: name
        for name in (
            *("model", "part", "mode", "form", "backend", "size", "batch", "threads", "date"),
            *("median_ms", "p10_ms", "p90_ms", "other_load", "peak_mb", "params_m", "gmacs"),
            "error",
        )
    },
    "dtype": "precision",
    "machine": "device",
}
SOFTWARE = ("project", "commit", "torch", "runtime")


def speed_of(
    row: Mapping[str, str], python: str | None = None, command: str | None = None
) -> Speed:
    """A row of the ledger from one of a CSV file, as under ``docs/speed``.

    Args:
        row: cells by column; empty ones are none.
        python: version that ran it, which those files do not hold.
        command: what a user types to repeat it.

    Raises:
        UserError: a column is missing, or a cell is not what it should be.
    """
    cells = {name: text for name, text in row.items() if text}
    commit, dirty = split_commit(cells.get("commit"))
    runtime, _, version = cells.get("runtime", "").partition(" ")
    versions = {"casvit-dense": cells.get("project"), "torch": cells.get("torch"), runtime: version}
    found = {name: text for name, text in versions.items() if name and text}
    values: dict[str, Any] = {
        field: cells[column] for column, field in FIELDS.items() if column in cells
    }
    known = {*FIELDS, *SOFTWARE}
    try:
        return Speed(
            **values,
            software=Software(versions=found, python=python, commit=commit, dirty=dirty),
            more={name: text for name, text in cells.items() if name not in known},
            command=command,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"no row of a speed table: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error


def append_speed(
    ledger: Path, rows: Iterable[Mapping[str, Any]], command: str | None = None
) -> None:
    """Adds measured rows to a ledger, with the figures as the CSV files give them.

    Raises:
        UserError: the ledger cannot be written.
    """
    python = platform.python_version()
    texts = [{name: text_of(value) for name, value in row.items()} for row in rows]
    append_rows(ledger, [speed_of(text, python, command) for text in texts])
