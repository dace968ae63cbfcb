"""Measured rows and the CSV files that keep them."""

import csv
import io
import math
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from casvit_dense.commit import DIRTY, split_commit
from casvit_dense.errors import UserError
from casvit_dense.files import write_whole
from casvit_dense.results.ledger import append_rows
from casvit_dense.results.row import Software, Speed

Row = dict[str, str]

#: Columns of figures; any other is text.
WHOLE = frozenset(
    ("batch", "threads", "rounds", "images", "workers", "categories", "detections", "seed")
)
FIGURES = frozenset(
    (
        *("other_load", "median_ms", "p10_ms", "p90_ms", "images_per_s", "ratio", "form_ratio"),
        *("difference", "peak_mb", "saved_mb", "params_m", "gmacs"),
        *(
            f"{part}_{unit}"
            for part in ("backbone", "neck", "head")
            for unit in ("params_m", "gmacs")
        ),
        *("matmul_gflops", "copy_gbs", "matmul_share", "copy_share", "roofline_share"),
        *("ms", "ms_mean", "ms_p10", "ms_p90", "images_per_second", "rss_mib", "private_mib"),
        *("seconds", "peak_mib", "speedup", "largest_difference"),
    )
)


def text_of(value: Any) -> str:
    """A cell: numbers with five digits, nothing for ``None``."""
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file, ``[]`` where there is none.

    Raises:
        UserError: the file is no table, or a figure is no number.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV: {error}") from error
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UserError(f"{path}: row {number} does not have the header's columns")
        for column, text in row.items():
            if text and (reason := _why_wrong(column, text, failed=bool(row.get("error")))):
                raise UserError(f"{path}: row {number}, {column}: {text!r} is {reason}")
    return rows


def _why_wrong(column: str, text: str, failed: bool) -> str | None:
    """What is wrong with a cell; the outputs of a failed case may differ by NaN."""
    try:
        if column in WHOLE:
            int(text)
        elif column in FIGURES and not math.isfinite(float(text)) and not failed:
            return "no number"
    except ValueError:
        return "no whole number" if column in WHOLE else "no number"
    return None


def check_place(path: Path) -> None:
    """Looks whether a file can be written, before work is done for it; nothing is left behind.

    Raises:
        UserError: it is a folder, or its folder cannot be made or written in.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a file")
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{path} cannot be written: {folder}: {error.strerror}") from error


class Ledger:
    """A CSV file of rows that are told apart by their conditions.

    Args:
        path: the file, which need not exist; ``None`` keeps the rows in memory alone.
        keys: columns that make two rows the same.

    Raises:
        UserError: the file is there and is no table of such rows, or it could not be written.
    """

    def __init__(self, path: Path | None, keys: Sequence[str]) -> None:
        self.path = path
        self.keys = tuple(keys)
        if path is not None:
            check_place(path)
        self.rows = read_rows(path) if path is not None else []
        if self.rows and not set(self.keys) <= set(self.rows[0]):
            missing = ", ".join(sorted(set(self.keys) - set(self.rows[0])))
            raise UserError(f"{path} is no table of this benchmark: no column {missing}")

    def key(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """What makes the row this row."""
        return tuple(text_of(row.get(key)) for key in self.keys)

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether such a row is there and says something about the code as it is now.

        A failure is worth another try, and what runs in a dirty tree may have changed since.
        """
        if str(row.get("commit") or "").endswith(DIRTY):
            return False
        key = self.key(row)
        return any(self.key(known) == key and not known.get("error") for known in self.rows)

    def put(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows, in place of those with the same conditions, and writes the file whole."""
        for row in rows:
            text = {name: text_of(value) for name, value in row.items()}
            known = [self.key(other) for other in self.rows]
            if (key := self.key(text)) in known:
                self.rows[known.index(key)] = text
            else:
                self.rows.append(text)
        if self.path is not None:
            write_whole(self.path, render(self.rows).encode())


def render(rows: Sequence[Row]) -> str:
    """Rows as CSV text with a header of all columns, in the order in which they come up."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


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
