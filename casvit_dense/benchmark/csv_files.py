"""Benchmark rows as CSV for other programs, and the CSV files that version 0.1 kept its rows in."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from casvit_dense.errors import UserError
from casvit_dense.provenance import split_commit
from casvit_dense.results.row import BenchmarkRow, Evaluation, parse_row

#: Columns of version 0.1 under another name than their fields.
RENAMED = {"dtype": "precision", "kind": "task"}
#: Columns that go into a field of their own.
SOFTWARE = ("machine", "project", "commit", "torch", "runtime")


def cells_of(row: BenchmarkRow) -> dict[str, str]:
    """A row's fields as text, nested ones in columns of their own, numbers as JSON has them."""
    cells: dict[str, str] = {}
    content = row.model_dump(mode="json")
    software = content.pop("software")
    for name, value in {**content, **software, "versions": None}.items():
        if isinstance(value, list):
            cells[name] = " ".join(map(str, value))
        elif isinstance(value, dict):
            cells.update((key, str(number)) for key, number in value.items())
        elif name != "versions":
            cells[name] = "" if value is None else str(value)
    return {**cells, **software["versions"]}


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
        UserError: there is no such file, or a line is no such row.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV: {error}") from error
    rows: list[BenchmarkRow] = []
    for number, cells in enumerate(table, start=2):
        try:
            if None in cells or None in cells.values():
                raise ValueError("it does not have the header's columns")
            row = parse_row(json.dumps(_version_1({k: v for k, v in cells.items() if v})))
            assert not isinstance(row, Evaluation)  # of no kind above
            rows.append(row)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"{path}, row {number}: {where}: {first['msg']}") from error
        except KeyError as error:
            raise UserError(f"{path}, row {number}: no column {error}") from error
        except ValueError as error:
            raise UserError(f"{path}, row {number}: {error}") from error
    return rows


def _version_1(cells: Mapping[str, str]) -> dict[str, Any]:
    """The filled cells of a line as a row of version 1, whose figures may be text."""
    kind = {"data": "loading", "eval": "evaluator"}.get(cells.get("mode", ""), "speed")
    commit, dirty = split_commit(cells.get("commit"))
    versions = {"casvit-dense": cells["project"], "torch": cells["torch"]}
    if runtime := cells.get("runtime"):
        name, _, version = runtime.partition(" ")
        versions[name] = version
    row = {
        "schema_version": 1,
        "kind": kind,
        "device": cells["machine"],
        "software": {"versions": versions, "commit": commit, "dirty": dirty},
    }
    fields = {RENAMED.get(c, c): text for c, text in cells.items() if c not in SOFTWARE}
    if kind == "speed":
        return {**row, "more": fields}
    metrics = {name: text for name, text in fields.items() if name.startswith(("mAP", "AR"))}
    rest: dict[str, Any] = {
        n: text for n, text in fields.items() if n not in (*metrics, "mode", "device")
    }
    if metrics:
        rest["metrics"] = metrics
    return {**row, **rest}
