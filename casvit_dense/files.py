"""Writing files so that nobody ever sees half of one; where the project's own files lie."""

import os
from pathlib import Path

from casvit_dense.errors import UserError

PACKAGE = Path(__file__).parent
#: The result rows of work directories at their usual place.
DEFAULT_LEDGER = Path("work_dirs", "results.jsonl")


def config_folder() -> Path:
    """The configs that come with the project: beside the package, or inside it from a wheel.

    Raises:
        UserError: they are in neither place.
    """
    for folder in (PACKAGE.parent / "configs", PACKAGE / ".mim" / "configs"):
        if (folder / "_base_").is_dir():
            return folder
    raise UserError(f"no folder configs beside {PACKAGE} or inside it; install casvit-dense anew")


def write_whole(target: Path, content: bytes) -> None:
    """Writes beside the target and renames; missing folders are made.

    Raises:
        UserError: it is a folder, or the disk or the permissions do not allow it; what was there
            is then as it was.
    """
    if target.is_dir():
        raise UserError(f"{target} is a folder; give a file")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(content)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error}") from error
