"""Writing files so that nobody ever sees half of one."""

import os
from pathlib import Path

from casvit_dense.errors import UserError


def write_whole(target: Path, content: bytes) -> None:
    """Writes beside the target and renames; missing folders are made.

    Raises:
        UserError: the disk or the permissions do not allow it; the target is then as it was.
    """
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
