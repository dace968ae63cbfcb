"""One step as a process of its own: its log, how far it is, and how it is ended."""

import fcntl
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from casvit_dense.errors import UserError

#: Seconds between two lines of progress, between two looks at a process, and until one that was
#: asked to end is killed.
SAY_EVERY, LOOK_EVERY, PATIENCE = 30.0, 0.2, 30.0

#: What `engine.hooks.Progress` writes.
PROGRESS = re.compile(r"(?:training iteration|evaluation batch) \d+ of \d+, .* left")

TAIL_BYTES = 20_000


@contextmanager
def alone(folder: Path) -> Iterator[int]:
    """Lets one process at a time work in a folder.

    The lock belongs to an open file that the steps inherit: a training that outlives a killed
    `reproduce` keeps it, so that no second one writes into the same folder. A lock of the package
    filelock would be gone with its process.

    Returns:
        The file's descriptor, for the processes that are started.

    Raises:
        UserError: another process holds the lock, the folder cannot be made, or its disk knows no
            locks.
    """
    path = folder / ".reproduce.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{folder} cannot be used: {error}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another reproduce, or a step that it started, works in {folder} (process "
                f"{os.read(lock, 20).decode() or 'unknown'}); wait for its end, end it, or give "
                "--work-dirs"
            ) from error
        except OSError as error:  # some network file systems know no locks
            raise UserError(
                f"{folder} cannot be locked: {error}; give --work-dirs on another disk"
            ) from error
        note(lock)
        yield lock
    finally:
        os.close(lock)


def note(lock: int, process: int | None = None) -> None:
    """Writes into the lock's file who works: this process, or a step of it."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(process or os.getpid()).encode(), 0)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP end this process as Ctrl-C does, so that its step ends with it."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: dict[int, Any] = {
        n: signal.signal(n, interrupt) for n in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_child(command: Sequence[str], log: Path, lock: int, tick: Callable[[], None]) -> int:
    """Runs a command to its end.

    Args:
        command: what to start.
        log: file that gets the command and all that it prints, behind what is there already.
        lock: descriptor of the folder's lock.
        tick: called every `SAY_EVERY` seconds.

    Returns:
        The exit status, negative for a signal.

    Raises:
        UserError: the program is not there, or the log cannot be written.
        KeyboardInterrupt: this process was asked to end; the command has ended then.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(f"\n$ {shlex.join(command)}\n# {datetime.now():%Y-%m-%d %H:%M:%S}\n")
            file.flush()
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],
            )
    except OSError as error:
        raise UserError(f"{command[0]} cannot be started, or {log} written: {error}") from error
    note(lock, child.pid)
    try:
        return _wait(child, tick)
    finally:
        _end(child)
        note(lock)


def _wait(child: subprocess.Popen[bytes], tick: Callable[[], None]) -> int:
    waits = max(1, round(SAY_EVERY / LOOK_EVERY))
    while True:
        for _ in range(waits):
            with suppress(subprocess.TimeoutExpired):
                return child.wait(LOOK_EVERY)
        tick()


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends a process that is still there: torchrun and srun end theirs when asked to."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.kill()
        child.wait()


def tail(log: Path) -> list[str]:
    """The last lines of a log."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()
    return []


def latest_progress(log: Path) -> str:
    """How far the process that writes a log is, in its own words; empty if it has not said."""
    for line in reversed(tail(log)):
        if line.startswith("$ "):
            break
        if found := PROGRESS.search(line):
            return found[0]
    return ""
