"""The input of a report: rows of ledgers, folders of predictions, training logs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from casvit_dense.benchmark.csv_files import cells_of
from casvit_dense.errors import UserError
from casvit_dense.evaluations import METRICS_FILE
from casvit_dense.files import read_json
from casvit_dense.report.training_logs import find_logs
from casvit_dense.results.boards import model_key
from casvit_dense.results.ledger import Rejected, read_ledger
from casvit_dense.results.lines import Row, row_id
from casvit_dense.results.measurements import Speed
from casvit_dense.results.row import Evaluation


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
        speeds: speeds of networks.
        others: other measurements by their kind, each a row's fields as text.
        rejected: lines of ledgers that are not valid rows.
        logs: training logs by the name of their run.
        files: the files of all rows.
    """

    evaluations: tuple[Evaluated, ...]
    speeds: tuple[Speed, ...]
    others: dict[str, list[dict[str, str]]]
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
    """Reads ledgers and finds training logs.

    Args:
        ledgers: files of result rows.
        tables: ledgers of ``casvit-dense benchmark``, without training logs beside them.
        runs: folders that are searched for training logs, besides those of the ledgers.

    Raises:
        UserError: a file or folder is missing or cannot be read, or none has a row.
    """
    evaluations: dict[str, Evaluated] = {}
    speeds: dict[str, Speed] = {}
    others: dict[str, dict[str, dict[str, str]]] = {}
    rejected: list[Rejected] = []
    for path in (*ledgers, *tables):
        if path.suffix == ".csv":
            raise UserError(
                f"{path} is a CSV file; the rows of one from version 0.1 become a ledger by "
                f"casvit-dense benchmark --import-csv {path} --ledger FILE.jsonl"
            )
        rows, invalid = read_ledger(path)
        rejected += invalid
        for row in rows:
            if isinstance(row, Evaluation):
                evaluations[row_id(row)] = _evaluated(row, path)
            elif isinstance(row, Speed):
                speeds[row_id(row)] = row
            else:
                others.setdefault(row.kind, {})[row_id(row)] = cells_of(row)
    logs = find_logs([ledger.parent for ledger in ledgers], runs)
    if not (evaluations or speeds or others):
        named = ", ".join(map(str, [*ledgers, *tables])) or "no file"
        hint = f"; {rejected[0]}" if rejected else ""
        raise UserError(f"there is no row in {named}{hint}; casvit-dense test writes some")
    return Sources(
        tuple(sorted(evaluations.values(), key=lambda evaluated: evaluated.row.date)),
        tuple(speeds.values()),
        {kind: list(cells.values()) for kind, cells in others.items()},
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


def row_of_folder(folder: Path) -> str | None:
    """The id of the row that the predictions in a folder belong to, by its ``metrics.json``."""
    try:
        content = read_json(folder / METRICS_FILE)
    except UserError:
        return None
    row = content.get("row") if isinstance(content, dict) else None
    return row if isinstance(row, str) else None


def with_predictions(evaluations: Sequence[Evaluated]) -> list[Evaluated]:
    """One evaluation for each folder of predictions, and for each model without; newest last.

    An evaluation may overwrite the files of an earlier one, so only one row owns them. Where that
    row is not among the given ones, none does.
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
