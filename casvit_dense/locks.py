"""One process at a time in a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from casvit_dense.errors import UserError


@contextmanager
def exclusive_lock(
    folder: Path, name: str, who: str, remedy: str, inherited: bool = False
) -> Iterator[int]:
    """Lets one process at a time work in a folder; gives the lock's descriptor for its steps.

    The package filelock has locks that children get in part: a loader's worker that outlives its
    killed training for seconds would hold them.

    Args:
        folder: is made where it is missing.
        name: of the lock's file, which stays.
        who: may hold it, for the message.
        remedy: what else a user can do.
        inherited: a step that outlives its killed starter keeps the lock, so that no second one
            writes into the same folder; otherwise it is gone with its process.

    Raises:
        UserError: another process holds the lock, the folder cannot be made, or its disk does not
            support locks.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error}") from error
    try:
        try:
            lock_file = fcntl.flock if inherited else fcntl.lockf
            lock_file(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            holder = os.read(lock, 20).decode().strip() or "unknown"
            raise UserError(
                f"{who} works in {folder} (process {holder}); wait for its end, end it, or {remedy}"
            ) from error
        except OSError as error:  # some network file systems have no locks
            raise UserError(f"{folder} cannot be locked: {error}; {remedy}") from error
        write_holder(lock, os.getpid())
        yield lock
    finally:
        os.close(lock)


def write_holder(lock: int, process: int) -> None:
    """Writes into the lock's file which process works: the one that locked, or its step."""
    os.pwrite(lock, f"{process:<12}\n".encode(), 0)  # one length, so that no reader sees a mixture
