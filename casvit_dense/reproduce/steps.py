"""One step of a run as a process: its command line, its log, its progress and its end."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from casvit_dense.errors import UserError
from casvit_dense.locks import exclusive_lock, write_holder
from casvit_dense.reproduce.plan import Run, Settings
from casvit_dense.reproduce.recipe import Recipe
from casvit_dense.signals import ECHO, SIGNALS, say
from casvit_dense.training import launch
from casvit_dense.training.slurm import srun_command

#: Seconds between two lines of progress, and between two looks at a process.
PROGRESS_EVERY, POLL_EVERY = 30.0, 0.2

#: Seconds from the request to end until a process is killed; a launcher kills its own before.
GRACE = launch.TIME_TO_SAVE + 30.0

#: The lines by which a training or an evaluation reports its progress.
PROGRESS = re.compile(r"(?:training iteration|evaluation batch) \d+ of \d+, .* left")

TAIL_BYTES = 20_000


def train_command(run: Run, recipe: Recipe, settings: Settings) -> list[str]:
    """The command line that trains a run, from its newest checkpoint if it has one."""
    options = recipe.options
    arguments = ["train", str(run.model.config), "--resume", "auto"]
    if options.pretrained is not None:
        arguments += ["--pretrained", options.pretrained]
    if options.from_scratch:
        arguments += ["--from-scratch"]
    return _command(arguments, options.cfg_options, run, recipe, settings)


def test_command(run: Run, recipe: Recipe, settings: Settings, checkpoint: Path) -> list[str]:
    """The command line that evaluates the last checkpoint of a run and writes its row."""
    arguments = ["test", str(run.model.config), str(checkpoint), "--ledger", str(settings.rows)]
    return _command(arguments, run.model.cfg_options, run, recipe, settings)


def _command(
    arguments: list[str],
    overrides: Mapping[str, Any],
    run: Run,
    recipe: Recipe,
    settings: Settings,
) -> list[str]:
    """The arguments with those that both steps share, as they are started."""
    arguments += ["--work-dir", str(run.work_dir), "--seed", str(run.seed)]
    if run.model.backbone is not None:
        arguments += ["--backbone", run.model.backbone]
    if recipe.options.data_root is not None:
        arguments += ["--data-root", recipe.options.data_root]
    if overrides:
        arguments += ["--cfg-options", *(f"{key}={value!r}" for key, value in overrides.items())]
    if settings.launcher == "torchrun":
        return [sys.executable, "-m", launch.__name__, str(settings.gpus), *arguments]
    if settings.launcher == "slurm":
        environment = {**os.environ, "GPUS": str(settings.gpus)}
        return srun_command(run.model.stem, arguments, environment)
    return [sys.executable, "-u", "-m", "casvit_dense", *arguments]


def plan_lock(folder: Path) -> AbstractContextManager[int]:
    """Lets one plan at a time work in a folder; see `exclusive_lock`."""
    who = "another reproduce, or a step that it started,"
    return exclusive_lock(folder, ".reproduce.lock", who, "give --work-dirs", inherited=True)


@contextmanager
def signals_handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handles the signals that end a plan; those that are ignored, as after nohup, stay so."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    taken = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handler of a signal that ends the program as Ctrl-C does."""
    raise KeyboardInterrupt


def run_step(
    command: Sequence[str], log: Path, lock: int, on_progress: Callable[[], None]
) -> int | None:
    """Runs a command to its end and returns the exit status, negative for a signal.

    A signal is only noted while the command is started, so that none can come between its start
    and the care for its end. The log gets the command and all that it prints; the process inherits
    the folder's lock; ``on_progress`` is called every `PROGRESS_EVERY` seconds.

    Raises:
        UserError: the program is not there, or the log cannot be written.
        KeyboardInterrupt: this process was asked to end; the command has ended then.
    """
    received: list[float] = []  # when
    with signals_handled(lambda number, frame: received.append(time.monotonic())):
        child = _start(command, log, lock)
        try:
            write_holder(lock, child.pid)
            status = _wait(child, received, on_progress)
        finally:
            _end(child, received)
            write_holder(lock, os.getpid())
    if received:
        raise KeyboardInterrupt
    return status


def _start(command: Sequence[str], log: Path, lock: int) -> subprocess.Popen[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(f"\n$ {shlex.join(command)}\n# {datetime.now():%Y-%m-%d %H:%M:%S}\n")
            file.flush()
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],
            )
    except OSError as error:
        raise UserError(f"{command[0]} cannot be started, or {log} written: {error}") from error


def _wait(
    child: subprocess.Popen[bytes], received: Sequence[float], on_progress: Callable[[], None]
) -> int | None:
    """The exit status; None if a signal came first."""
    due = time.monotonic() + PROGRESS_EVERY
    while not received:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(POLL_EVERY)
        if time.monotonic() >= due:
            on_progress()
            due += PROGRESS_EVERY
    return None


def _end(child: subprocess.Popen[bytes], received: Sequence[float]) -> None:
    """Asks a process that still runs to save and end; kills it when one more signal comes.

    Signals that belong to the first, see `ECHO`, are not one more.
    """
    if child.poll() is None:
        child.send_signal(signal.SIGUSR1)  # not SIGTERM, of which srun makes SIGKILL
        say(f"the step saves and ends; a signal after {ECHO:.0f} s kills it")
    deadline = time.monotonic() + GRACE
    while child.poll() is None and time.monotonic() < deadline:
        if received and received[-1] - received[0] > ECHO:
            break
        time.sleep(POLL_EVERY)
    if child.poll() is None:
        child.kill()
        child.wait()


def tail(log: Path) -> list[str]:
    """The last lines of a log; none if it cannot be read."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()
    return []


def latest_progress(log: Path) -> str:
    """The last progress that the present command reported in a log; empty if it has not yet."""
    for line in reversed(tail(log)):
        if line.startswith("$ "):
            break
        if found := PROGRESS.search(line):
            return found[0]
    return ""
