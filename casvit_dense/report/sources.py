"""What a report is made of: rows of ledgers and CSV files, and the training logs beside them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from casvit_dense.benchmark.rows import Row as CsvRow
from casvit_dense.benchmark.rows import read_rows, speed_of
from casvit_dense.errors import UserError
from casvit_dense.report.inside import leaves
from casvit_dense.results.ledger import Rejected, read_ledger
from casvit_dense.results.row import Evaluation, Row, Speed, row_id

#: Columns without which a CSV row is no speed of a network.
SPEED_COLUMNS = {"model", "part", "mode", "form", "backend", "size", "batch", "threads"}

LOGS = "*/vis_data/scalars.json"  # below a run's folder, as mmengine writes them
SEED = "seed-"  # begins the folders of further seeds, which lie in that of the first


@dataclass(frozen=True)
class Evaluated:
    """An evaluation and, if it kept predictions, their folder (which may be gone by now).

    Attributes:
        row: of a ledger.
        folder: of ``metrics.json`` and the predictions.
        refused: why the folder that the row names is not read.
    """

    row: Evaluation
    folder: Path | None
    refused: str = ""


@dataclass(frozen=True)
class Sources:
    """All that was read.

    Attributes:
        evaluations: of all ledgers, every row once, the newest last.
        speeds: of ledgers and CSV files.
        others: rows of CSV files of another kind, by file name.
        rejected: lines of ledgers that are no rows.
        logs: training logs, by the name of their run.
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
        """Every row."""
        return [*(evaluated.row for evaluated in self.evaluations), *self.speeds]


def read_sources(
    ledgers: Sequence[Path], tables: Sequence[Path] = (), runs: Sequence[Path] = ()
) -> Sources:
    """Reads everything.

    Args:
        ledgers: files of result rows.
        tables: CSV files of ``casvit-dense benchmark``.
        runs: folders below which training logs are looked for, beside those of the ledgers.

    Raises:
        UserError: a file or folder is missing or cannot be read, or there is nothing in them.
    """
    evaluations: dict[str, Evaluated] = {}
    speeds: dict[str, Speed] = {}
    rejected: list[Rejected] = []
    for ledger in ledgers:
        rows, strange = read_ledger(ledger)
        rejected += strange
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
    """With the folder that the row names, if it lies below that of the ledger."""
    if row.folder and leaves(row.folder):
        return Evaluated(
            row,
            None,
            f"Its predictions are not read: their folder {row.folder} does not lie below that of "
            f"the ledger {ledger}. Evaluate with a ledger above it (test's --ledger).",
        )
    return Evaluated(row, ledger.parent / row.folder if row.folder else None)


def _read_table(path: Path) -> tuple[list[Speed], list[CsvRow]]:
    """Speeds of a CSV file, and its rows if they are of another kind.

    Raises:
        UserError: there is no such file, it is no table, or a row has a value that cannot be.
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


def find_logs(homes: Iterable[Path], runs: Iterable[Path]) -> dict[str, Path]:
    """Training logs by name of their run: its folder, with the start's date if there are several.

    Args:
        homes: folders of work directories, which may hold those of further seeds.
        runs: folders searched in depth.

    Raises:
        UserError: one of ``runs`` is no folder.
    """
    found: list[Path] = []
    for home in homes:
        found += sorted([*home.glob(f"*/{LOGS}"), *home.glob(f"*/{SEED}*/{LOGS}")])
    for folder in runs:
        if not folder.is_dir():
            raise UserError(f"no folder {folder} to look for training logs in")
        found += sorted(folder.rglob(LOGS))
    paths = list(dict.fromkeys(path.resolve() for path in found))
    return dict(zip(_short_names(paths), paths, strict=True))


def _short_names(logs: Sequence[Path]) -> list[str]:
    """The shortest names by which all can be told apart."""
    runs = [(log.parents[2], log.parents[1].name) for log in logs]
    names = [_run_name(run) for run, _ in runs]
    dated = [f"{name}, {start}" for name, (_, start) in zip(names, runs, strict=True)]
    longer = [f"{run.parent.name}/{run.name}, {start}" for run, start in runs]
    short = (kind for kind in (names, dated, longer) if len(set(kind)) == len(kind))
    return next(short, [f"{run}, {start}" for run, start in runs])


def _run_name(run: Path) -> str:
    """The folder's name; a further seed's alone would not say of what."""
    return f"{run.parent.name}/{run.name}" if run.name.startswith(SEED) else run.name


def row_of_folder(folder: Path) -> str | None:
    """The id of the row whose predictions lie in a folder, as its ``metrics.json`` says."""
    try:
        row = json.loads((folder / "metrics.json").read_text(encoding="utf-8")).get("row")
    except (OSError, ValueError, AttributeError):
        return None
    return row if isinstance(row, str) else None


def with_predictions(evaluations: Sequence[Evaluated]) -> list[Evaluated]:
    """One evaluation for each folder of predictions, and for each model without one.

    A later evaluation of the same work directory takes the place of the earlier one's files, so
    only one row owns them. Where that row is not among ours, nobody does.

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
    """What two evaluations share if they asked the same question."""
    how = (row.form, row.backend, row.precision)
    return (row.config, row.weights.sha256, row.dataset.annotations_sha256, *how)
