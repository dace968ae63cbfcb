"""Checkpoints that are whole: written beside their place and renamed, and checked when read."""

import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from casvit_dense.checkpoint.reader import file_sha256
from casvit_dense.errors import UserError
from casvit_dense.files import write_whole

#: Of a folder's checkpoints, as ``sha256sum --check`` reads it.
SUMS: Final = "SHA256SUMS"
#: Names of files that are being written.
UNFINISHED: Final = ".unfinished.{}"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives the place to write a file at; what is there at the end is renamed to its own.

    The file is on the disk, and its SHA-256 in `SUMS` of its folder, before it gets its name: who
    finds the name finds the whole file, whenever the process or the machine ended.

    Raises:
        UserError: it cannot be written; what had the name before is untouched.
    """
    unfinished = path.with_name(UNFINISHED.format(path.name))
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        sums = {**read_sums(path.parent), path.name: file_sha256(unfinished)}
        write_sums(path.parent, sums)
        unfinished.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}. What was saved before is whole"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Puts the names of a folder on the disk, where its file system can."""
    number = os.open(folder, os.O_RDONLY)
    with suppress(OSError):
        os.fsync(number)
    os.close(number)


def read_sums(folder: Path) -> dict[str, str]:
    """Names of files -> their SHA-256, as far as they were noted."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    return {name: digest for digest, name in pairs}


def remove_whole(paths: Iterable[Path]) -> None:
    """Removes files, and then their sums, by which ``sha256sum`` would miss them."""
    folders = set()
    for path in paths:
        path.unlink()
        folders.add(path.parent)
    for folder in folders:
        write_sums(folder, read_sums(folder))


def write_sums(folder: Path, sums: dict[str, str]) -> None:
    """Writes the sums of the files that are there, or are just being finished."""
    kept = {
        name: digest
        for name, digest in sums.items()
        if any((folder / place).exists() for place in (name, UNFINISHED.format(name)))
    }
    lines = "".join(f"{digest}  {name}\n" for name, digest in kept.items())
    write_whole(folder / SUMS, lines.encode())


def check_whole(path: Path) -> None:
    """Compares a checkpoint with the sum that was noted, or else with those inside the file.

    Files of torch are zip archives with a CRC for each tensor, which torch itself never looks at.

    Raises:
        UserError: it is damaged, or cannot be read.
    """
    try:
        noted = read_sums(path.parent).get(path.name)
        if noted is not None:
            damaged = file_sha256(path) != noted
        else:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip() is not None
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError):
        damaged = True
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if damaged:
        raise UserError(f"{path} is damaged: its content is not what was written")
