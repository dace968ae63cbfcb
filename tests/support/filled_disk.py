"""A disk that fills up: from one write on, nothing below a folder can be written any more."""

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch


class Disk:
    """Counts the files and folders that are made or opened for writing below a folder."""

    def __init__(self, folder: Path, room: float) -> None:
        self.folder = str(folder)
        self.room = room
        self.written: list[str] = []

    def full(self, path: Any) -> bool:
        """Whether this write, which is counted, is one too many."""
        if not isinstance(path, (str, os.PathLike)):
            return False
        place = str(Path(path).absolute())
        if not place.startswith(self.folder):
            return False
        self.written.append(place)
        return len(self.written) > self.room


@contextmanager
def disk_of(folder: Path, room: float = float("inf")) -> Iterator[Disk]:
    """Runs something on a disk with room for so many writes.

    A file that is opened later is made or emptied, as on a real disk, and the kernel's
    ``/dev/full`` takes its place: a write to it fails where the real one would, at a flush or a
    close.
    """
    disk, real_open, real_mkdir = Disk(folder, room), io.open, os.mkdir

    def full_file(path: str, flags: int) -> int:
        os.close(os.open(path, flags, 0o666))
        return os.open("/dev/full", flags & os.O_ACCMODE)

    def open_file(
        file: Any, mode: str = "r", *args: Any, opener: Callable | None = None, **more: Any
    ) -> Any:
        if opener is None and set(mode) & set("wax+") and disk.full(file):
            opener = full_file
        return real_open(file, mode, *args, opener=opener, **more)

    def mkdir(path: Any, *args: Any, **more: Any) -> None:
        if not Path(path).exists() and disk.full(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real_mkdir(path, *args, **more)

    with (
        patch.object(io, "open", open_file),
        patch.object(builtins, "open", open_file),
        patch.object(os, "mkdir", mkdir),
    ):
        yield disk
