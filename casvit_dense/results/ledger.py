"""The ledger: a file of result rows, one JSON object per line, that many processes may add to."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout
from pydantic import ValidationError

from casvit_dense.errors import UserError, validation_message
from casvit_dense.files import DEFAULT_LEDGER, write_whole
from casvit_dense.results.lines import Row, line_of, parse_row, row_id
from casvit_dense.results.measurements import BenchmarkRow

LEDGER = DEFAULT_LEDGER.name

#: An append takes milliseconds; a thousand writers in a row stay well below this.
LOCK_SECONDS = 60


@dataclass(frozen=True)
class Rejected:
    """A line that is no row: ``number`` counts from 1, ``reason`` says what is wrong."""

    path: Path
    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.number} is skipped: {self.reason}"


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Adds rows at the end; safe beside other processes that do the same.

    A line that a killed process left unfinished is ended first, so that it spoils no other; what a
    disk that filled up took of a row is cut off again.

    Raises:
        UserError: the disk or the permissions do not allow it, or another process keeps the file.
    """
    text = "".join(f"{line_of(row)}\n" for row in rows).encode()
    with _exclusive(path):
        size = path.stat().st_size if path.exists() else None
        try:
            with path.open("ab+") as file:
                if size and not _ends_a_line(file):
                    text = b"\n" + text
                file.write(text)
        except OSError:
            with suppress(OSError):  # as where the file could not be opened
                path.unlink() if size is None else os.truncate(path, size)
            raise


def replace_rows(path: Path, rows: Iterable[BenchmarkRow]) -> None:
    """Adds measurements, each in place of those under the same condition.

    All other lines stay as they are, also those that are no rows. As safe as `append_rows`, with
    the same errors.
    """
    new = {row.condition: line_of(row).encode() for row in rows}
    with _exclusive(path):
        lines = path.read_bytes().splitlines() if path.exists() else []
        kept: dict[Any, bytes] = {}
        for number, line in enumerate(lines):
            condition = _condition_of(line)
            replaced = condition in new
            kept[condition if replaced else number] = new[condition] if replaced else line
        kept.update(new)
        write_whole(path, b"".join(line + b"\n" for line in kept.values()))


def _condition_of(line: bytes) -> Any:
    """The condition of a measurement; None for any other line."""
    try:
        return getattr(parse_row(line.decode()), "condition", None)
    except (ValueError, RecursionError):
        return None


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Keeps other processes from writing to the file, whose folder is made."""
    if not path.name:
        raise UserError("the ledger's name is empty; give a file")
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock:
            yield
    except Timeout as error:  # also where the folder takes no new files
        raise UserError(
            f"{path} cannot be written: its lock {lock.lock_file} could not be taken within "
            f"{LOCK_SECONDS} s; another process holds it, or the folder takes no files"
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}") from error


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def read_ledger(path: Path) -> tuple[list[Row], list[Rejected]]:
    """The rows of a file in their order, and the lines that are none.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"no ledger can be read at {path}: {error.strerror}") from error
    rows, rejected = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(parse_row(line.decode()))
        except ValidationError as error:
            rejected.append(Rejected(path, number, validation_message(error)))
        except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors too
            rejected.append(Rejected(path, number, str(error)))
    return rows, rejected


def read_ledgers(paths: Iterable[Path]) -> tuple[list[Row], list[Rejected]]:
    """The rows of several files, each row once, and the lines that are none.

    Raises:
        UserError: one of the files cannot be read.
    """
    rows: dict[str, Row] = {}
    rejected = []
    for path in paths:
        found, bad = read_ledger(path)
        rows.update((row_id(row), row) for row in found)
        rejected += bad
    return list(rows.values()), rejected
