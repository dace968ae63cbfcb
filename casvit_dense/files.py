"""Atomic writes, full disks, JSON files, and where the project's files are."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from casvit_dense.errors import UserError

PACKAGE = Path(__file__).parent
#: What only the user can mend, wherever it comes up: no space, no permission, a read-only disk.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
#: Suffixes of config files.
CONFIG_SUFFIXES = (".py", ".json", ".yaml", ".yml")
#: Folder of work directories, one for each config.
WORK_DIRS = Path("work_dirs")
#: The result rows of work directories at their usual place.
DEFAULT_LEDGER = WORK_DIRS / "results.jsonl"


def config_folder() -> Path:
    """The configs that come with the project: beside the package, or inside it from a wheel."""
    for folder in (PACKAGE.parent / "configs", PACKAGE / ".mim" / "configs"):
        if (folder / "_base_").is_dir():
            return folder
    raise UserError(f"no folder configs beside {PACKAGE} or inside it; reinstall casvit-dense")


def short_path(path: str | Path) -> Path:
    """A path as people would type it: relative to the current folder if it lies below that."""
    here = Path.cwd()
    return Path(path).relative_to(here) if Path(path).is_relative_to(here) else Path(path)


def is_file(path: Path) -> bool:
    """Whether a file is there; no path is too long or too strange to be asked for."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def check_writable(path: Path) -> None:
    """Looks whether a file can be written, before work is done for it; nothing is left behind.

    Raises:
        UserError: it is a folder, or its folder cannot be made or written in.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise UserError(f"{path} cannot be written: it is read-only")
    if path.is_file() or not path.exists():  # else a device, which is not replaced
        check_folder(path.absolute().parent, path)


def check_folder(folder: Path, path: Path) -> None:
    """Looks whether files can be written in a folder that may have to be made, for a path in it.

    Raises:
        UserError: they cannot.
    """
    place = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"{path} cannot be written: {place}: {error.strerror}") from error


def write_whole(target: Path, content: bytes) -> None:
    """Writes beside the target and renames; missing folders are made. Links and devices stay.

    Raises:
        UserError: it is a folder, or the disk or the permissions do not allow it; what was there
            is then as it was.
    """
    if target.is_dir():
        raise UserError(f"{target} is a folder; give a file")
    if target.is_symlink() and not target.is_relative_to("/dev"):
        target = target.resolve()
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if target.is_symlink() or (target.exists() and not target.is_file()):
            target.write_bytes(content)  # /dev/stdout: a rename would take its place
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(content)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error}") from error


def free_bytes(path: Path) -> int:
    """Free bytes on the disk where a file or folder is, or will be."""
    place = path.absolute()
    return shutil.disk_usage(next(p for p in (place, *place.parents) if p.exists())).free


@contextmanager
def disk_errors(what: str | Path) -> Iterator[None]:
    """Says what could not be written where a library met a full or protected disk.

    Raises:
        UserError: in place of such an OSError, which names no file where a write failed.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise UserError(f"{what} cannot be written: {error}") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: it is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # errors of UTF-8 are ValueErrors, too
        raise UserError(f"{path}: not JSON ({error})") from error


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines; other lines, as a killed run's last, are left out."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            yield content


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Writes a JSON file with `write_whole`, compact without an indent.

    Raises:
        UserError: see `write_whole`; or a number is NaN or infinite, which JSON does not know.
    """
    separators = (",", ":") if indent is None else None
    try:
        text = json.dumps(content, indent=indent, separators=separators, allow_nan=False)
    except ValueError as error:
        raise UserError(f"{path} cannot be written: {error}") from error
    write_whole(path, f"{text}\n".encode())
