"""Benchmark rows as CSV for other programs, and the CSV files that version 0.1 kept its rows in."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from casvit_dense.errors import UserError, validation_message
from casvit_dense.provenance import split_commit
from casvit_dense.results.lines import parse_row
from casvit_dense.results.measurements import BenchmarkRow
from casvit_dense.results.row import Evaluation

#: Columns of version 0.1 under another name than their fields.
RENAMED = {"dtype": "precision", "kind": "task"}


def cells_of(row: BenchmarkRow) -> dict[str, str]:
    """A row's fields as text, nested ones in columns of their own, numbers as JSON has them."""
    content = row.model_dump(mode="json")
    software = content.pop("software")
    versions = software.pop("versions")
    cells: dict[str, str] = {}
    for name, value in {**content, **software}.items():
        if isinstance(value, dict):
            cells |= {key: str(number) for key, number in value.items()}
        elif isinstance(value, list):
            cells[name] = " ".join(map(str, value))
        else:
            cells[name] = "" if value is None else str(value)
    return {**cells, **versions}


def csv_text(rows: Sequence[BenchmarkRow]) -> str:
    """Rows as CSV with a header of all columns that any of them fills, in their order."""
    found = [cells_of(row) for row in rows]
    columns = dict.fromkeys(name for cells in found for name in cells)
    filled = [name for name in columns if any(cells.get(name) for cells in found)]
    text = io.StringIO()
    writer = csv.DictWriter(text, filled, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def read_csv_0_1(path: Path) -> list[BenchmarkRow]:
    """The rows of a file that ``casvit-dense benchmark --out`` of version 0.1 wrote.

    Raises:
        UserError: there is no such file, or a line is not such a row.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV: {error}") from error
    rows = []
    for number, cells in enumerate(table, start=2):
        try:
            rows.append(_row_of(cells))
        except ValueError as error:
            problem = validation_message(error) if isinstance(error, ValidationError) else error
            raise UserError(f"{path}, row {number}: {problem}") from error
    return rows


def _row_of(cells: Mapping[str, str]) -> BenchmarkRow:
    """The row of a line, by way of a ledger row of version 1, whose figures may be text."""
    if None in cells or None in cells.values():
        raise ValueError("it does not have the header's columns")
    fields = {RENAMED.get(name, name): text for name, text in cells.items() if text}
    if missing := [name for name in ("project", "torch", "machine") if name not in fields]:
        raise ValueError(f"no column {missing[0]!r}")
    commit, dirty = split_commit(fields.pop("commit", None))
    versions = {"casvit-dense": fields.pop("project"), "torch": fields.pop("torch")}
    if "runtime" in fields:
        name, _, version = fields.pop("runtime").partition(" ")
        versions[name] = version
    kind = {"data": "loading", "eval": "evaluator"}.get(fields.get("mode", ""), "speed")
    row: dict[str, Any] = {
        "schema_version": 1,
        "kind": kind,
        "device": fields.pop("machine"),
        "software": {"versions": versions, "commit": commit, "dirty": dirty},
    }
    if kind == "speed":
        row["more"] = fields
    else:
        metrics = {n: text for n, text in fields.items() if n.startswith(("mAP", "AR"))}
        hidden = {*metrics, "mode", "device"}
        row |= {name: text for name, text in fields.items() if name not in hidden}
        if metrics:
            row["metrics"] = metrics
    parsed = parse_row(json.dumps(row))
    assert not isinstance(parsed, Evaluation)  # of no kind above
    return parsed
