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

#: Names of launchers here, and in ``train`` and ``test``.
LAUNCHERS = {"none": "none", "torchrun": "pytorch", "slurm": "slurm"}

GPUS_PER_NODE, CPUS_PER_TASK = 8, 5  # of Slurm, where the environment does not say

#: Seconds between two lines of progress, between two looks at a process, and from the request to
#: end until a process is killed.
PROGRESS_EVERY, POLL_EVERY, GRACE = 30.0, 0.2, 30.0

#: Signals that end a plan, and with it the step that runs.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

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
    """The launcher, the program and the arguments with those that both steps share."""
    arguments += ["--work-dir", str(run.work_dir), "--seed", str(run.seed)]
    if recipe.options.data_root is not None:
        arguments += ["--data-root", recipe.options.data_root]
    if overrides:
        arguments += ["--cfg-options", *(f"{key}={value!r}" for key, value in overrides.items())]
    arguments += ["--launcher", LAUNCHERS[settings.launcher]]
    return [*_launcher(run, settings), "-m", "casvit_dense", *arguments]


def _launcher(run: Run, settings: Settings) -> list[str]:
    if settings.launcher == "torchrun":
        processes = f"--nproc_per_node={settings.gpus}"
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", processes]
    if settings.launcher == "slurm":
        per_node = min(settings.gpus, int(os.environ.get("GPUS_PER_NODE", GPUS_PER_NODE)))
        return [
            "srun",
            f"--job-name={run.model.stem}",
            f"--gres=gpu:{per_node}",
            f"--ntasks={settings.gpus}",
            f"--ntasks-per-node={per_node}",
            f"--cpus-per-task={os.environ.get('CPUS_PER_TASK', CPUS_PER_TASK)}",
            "--kill-on-bad-exit=1",
            *os.environ.get("SRUN_ARGS", "").split(),
            sys.executable,
            "-u",
        ]
    return [sys.executable, "-u"]


def plan_lock(folder: Path) -> AbstractContextManager[int]:
    """Lets one plan at a time work in a folder; see `exclusive_lock`."""
    who = "another reproduce, or a step that it started,"
    return exclusive_lock(folder, ".reproduce.lock", who, "give --work-dirs", inherited=True)


@contextmanager
def signals_handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handles the signals that end a plan; those that are ignored, as after nohup, stay so."""
    before = {number: signal.getsignal(number) for number in ENDING}
    taken = [number for number in ENDING if before[number] is not signal.SIG_IGN]
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
    received: list[int] = []
    with signals_handled(lambda number, frame: received.append(number)):
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
    child: subprocess.Popen[bytes], received: Sequence[int], on_progress: Callable[[], None]
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


def _end(child: subprocess.Popen[bytes], received: Sequence[int]) -> None:
    """Ends a process that still runs; at once when a second signal comes.

    torchrun and srun end their own processes when they are asked to.
    """
    if child.poll() is None:
        child.terminate()
    deadline = time.monotonic() + GRACE
    while child.poll() is None and len(received) < 2 and time.monotonic() < deadline:
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
