"""The input of a report: rows of ledgers and CSV files, folders of predictions, training logs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from casvit_dense.benchmark.rows import Row as CsvRow
from casvit_dense.benchmark.rows import read_rows, speed_of
from casvit_dense.errors import UserError
from casvit_dense.evaluations import METRICS_FILE
from casvit_dense.report.training_logs import find_logs
from casvit_dense.results.ledger import Rejected, read_ledger
from casvit_dense.results.row import Evaluation, Row, Speed, row_id

#: Columns without which a CSV row is no speed of a network.
SPEED_COLUMNS = {"model", "part", "mode", "form", "backend", "size", "batch", "threads"}


@dataclass(frozen=True)
class Evaluated:
    """An evaluation and, if it kept predictions, their folder (which may not exist any more).

    Attributes:
        row: row of a ledger.
        folder: folder of ``metrics.json`` and the predictions.
        refused: why the folder of the row is not read.
    """

    row: Evaluation
    folder: Path | None
    refused: str = ""


@dataclass(frozen=True)
class Sources:
    """Everything that was read.

    Attributes:
        evaluations: evaluations of all ledgers, every row once, the newest last.
        speeds: speeds of ledgers and CSV files.
        others: rows of other kinds of CSV files, by file name.
        rejected: lines of ledgers that are not valid rows.
        logs: training logs by the name of their run.
        files: ledgers and CSV files.
    """

    evaluations: tuple[Evaluated, ...]
    speeds: tuple[Speed, ...]
    others: dict[str, list[CsvRow]]
    rejected: tuple[Rejected, ...]
    logs: dict[str, Path]
    files: tuple[Path, ...]

    @property
    def rows(self) -> list[Row]:
        """All rows: evaluations, then speeds."""
        return [*(evaluated.row for evaluated in self.evaluations), *self.speeds]


def read_sources(
    ledgers: Sequence[Path], tables: Sequence[Path] = (), runs: Sequence[Path] = ()
) -> Sources:
    """Reads ledgers and CSV files, and finds training logs.

    Args:
        ledgers: files of result rows.
        tables: CSV files of ``casvit-dense benchmark``.
        runs: folders that are searched for training logs, besides those of the ledgers.

    Raises:
        UserError: a file or folder is missing or cannot be read, or none has a row.
    """
    evaluations: dict[str, Evaluated] = {}
    speeds: dict[str, Speed] = {}
    rejected: list[Rejected] = []
    for ledger in ledgers:
        rows, invalid = read_ledger(ledger)
        rejected += invalid
        for row in rows:
            if isinstance(row, Evaluation):
                evaluations[row_id(row)] = _evaluated(row, ledger)
            else:
                speeds[row_id(row)] = row
    others: dict[str, list[CsvRow]] = {}
    for table in tables:
        found, other = _read_table(table)
        speeds.update({row_id(row): row for row in found})
        if other:
            others[table.name] = other
    logs = find_logs([ledger.parent for ledger in ledgers], runs)
    if not (evaluations or speeds or others):
        named = ", ".join(map(str, [*ledgers, *tables])) or "no file"
        hint = f"; {rejected[0]}" if rejected else ""
        raise UserError(f"there is no row in {named}{hint}; casvit-dense test writes some")
    return Sources(
        tuple(sorted(evaluations.values(), key=lambda evaluated: evaluated.row.date)),
        tuple(speeds.values()),
        others,
        tuple(rejected),
        logs,
        (*ledgers, *tables),
    )


def _evaluated(row: Evaluation, ledger: Path) -> Evaluated:
    """A row with its folder, if that lies below the ledger's."""
    if row.folder and not is_within(row.folder):
        return Evaluated(
            row,
            None,
            f"Its predictions are not read: their folder {row.folder} does not lie below that of "
            f"the ledger {ledger}. Evaluate with a ledger above it (test's --ledger).",
        )
    return Evaluated(row, ledger.parent / row.folder if row.folder else None)


def is_within(name: str) -> bool:
    """Whether a relative path stays in its folder, by the rules of every operating system.

    A page that is sent to others must hold nothing of the disk but what lies in the folders that it
    was made of.
    """
    windows = PureWindowsPath(name)
    absolute = PurePosixPath(name).is_absolute() or bool(windows.anchor)
    return not absolute and ".." not in windows.parts


def _read_table(path: Path) -> tuple[list[Speed], list[CsvRow]]:
    """Speeds of a CSV file, or its rows if they are of another kind.

    Raises:
        UserError: the file is missing or not a table, or a row has an invalid value.
    """
    if not path.is_file():
        raise UserError(f"no CSV file {path}")
    rows = read_rows(path)
    if not rows or not set(rows[0]) >= SPEED_COLUMNS:
        return [], rows
    speeds = []
    for number, row in enumerate(rows, 2):
        try:
            speeds.append(speed_of(row))
        except UserError as error:
            raise UserError(f"{path}, row {number}: {error}") from error
    return speeds, []


def row_of_folder(folder: Path) -> str | None:
    """The id of the row that the predictions in a folder belong to, by its ``metrics.json``."""
    try:
        row = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8")).get("row")
    except (OSError, ValueError, AttributeError):
        return None
    return row if isinstance(row, str) else None


def with_predictions(evaluations: Sequence[Evaluated]) -> list[Evaluated]:
    """One evaluation for each folder of predictions, and for each model without one.

    An evaluation may overwrite the files of an earlier one, so only one row owns them. Where that
    row is not among the given ones, none does.

    Args:
        evaluations: the newest last.
    """
    chosen: dict[object, Evaluated] = {}
    for evaluated in evaluations:
        row, folder = evaluated.row, evaluated.folder
        owner = row_of_folder(folder) if folder else None
        if owner not in (None, row_id(row)):
            folder = None
        known = chosen.get(key := evaluated.folder or model_key(row))
        if known is None or folder or not known.folder:
            chosen[key] = replace(evaluated, folder=folder)
    return list(chosen.values())


def model_key(row: Evaluation) -> tuple[str, ...]:
    """What two evaluations of the same model, data and form share."""
    how = (row.form, row.backend, row.precision)
    return (row.config, row.weights.sha256, row.dataset.annotations_sha256, *how)
