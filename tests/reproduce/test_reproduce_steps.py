"""One step as a process: its log, its end, and the folder's lock."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from processes import forked, wait_for

from casvit_dense import locks
from casvit_dense.errors import UserError
from casvit_dense.reproduce import steps
from casvit_dense.reproduce.steps import (
    interrupt,
    latest_progress,
    plan_lock,
    run_step,
    signals_handled,
)
from casvit_dense.signals import SIGNALS


def sleeping(seconds: float = 600) -> list[str]:
    return [sys.executable, "-c", f"import time; print('up', flush=True); time.sleep({seconds})"]


def test_a_child_writes_its_log_and_gives_its_status(tmp_path: Path) -> None:
    log = tmp_path / "new/x.log"
    with plan_lock(tmp_path / "w") as lock:
        for status in (0, 3):
            command = [sys.executable, "-c", f"print('out'); raise SystemExit({status})"]
            assert run_step(command, log, lock, lambda: None) == status
    lines = log.read_text().splitlines()
    assert lines.count("out") == 2 and sum(line.startswith("$ ") for line in lines) == 2


def test_progress_is_reported_as_the_step_logs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "PROGRESS_EVERY", 0.1)
    monkeypatch.setattr(steps, "POLL_EVERY", 0.05)
    line = "training iteration 3 of 9, 0.50 s each, 3 s left"
    log, done, reported = tmp_path / "x.log", tmp_path / "done", []
    # The step ends when its progress was reported, however long that takes.
    script = (
        "import pathlib, sys, time\n"
        f"print('x - INFO - {line}', flush=True); print('y', flush=True)\n"
        "while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)"
    )

    def on_progress() -> None:
        reported.append(latest_progress(log))
        if reported[-1]:
            done.touch()

    with plan_lock(tmp_path) as lock:
        run_step([sys.executable, "-c", script, str(done)], log, lock, on_progress)
    assert reported[-1] == line
    log.write_text(f"{line}\n$ the next command\nnothing yet\n")
    assert latest_progress(log) == "", "an earlier process reported that"


def test_a_program_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    with (
        plan_lock(tmp_path) as lock,
        pytest.raises(UserError, match="no-such-program cannot be"),
    ):
        run_step(["no-such-program"], tmp_path / "x.log", lock, lambda: None)


def test_one_at_a_time(tmp_path: Path) -> None:
    with (
        plan_lock(tmp_path),
        pytest.raises(UserError, match=f"works in .*process {os.getpid()}"),
    ):
        plan_lock(tmp_path).__enter__()
    with plan_lock(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be made"):
        plan_lock(tmp_path / "file/w").__enter__()


def test_a_disk_without_locks_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(lock: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with pytest.raises(UserError, match="cannot be locked: .*; give --work-dirs"):
        plan_lock(tmp_path).__enter__()


def with_a_step(folder: Path, command: Sequence[str] | None = None) -> Callable[[], int]:
    def work() -> int:
        try:
            with signals_handled(interrupt), plan_lock(folder) as lock:
                return run_step(command or sleeping(), folder / "step.log", lock, lambda: None)
        except KeyboardInterrupt:
            return 77

    return work


def holder(folder: Path) -> int:
    """Process that the lock's file names."""
    return int((folder / ".reproduce.lock").read_text())


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def exit_code(pid: int) -> int:
    """Waits for the end of a process; a test fails rather than hangs."""
    wait_for(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def step_of(folder: Path, pid: int) -> int:
    """Waits until a step runs under the process; gives the step's id."""
    log = folder / "step.log"
    wait_for(lambda: log.is_file() and "up" in log.read_text() and holder(folder) != pid)
    return holder(folder)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_the_step_to_save_and_end(tmp_path: Path, number: signal.Signals) -> None:
    """By the one signal that torchrun and srun pass on; it may come twice, as from a terminal."""
    saving = (
        "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: exit(print('saved')));"
        "print('up', flush=True); time.sleep(600)"
    )
    with forked(with_a_step(tmp_path, [sys.executable, "-c", saving]), tmp_path / "out") as pid:
        step = step_of(tmp_path, pid)
        assert alive(step)
        os.kill(pid, number)
        os.kill(pid, number)
        assert exit_code(pid) == 77
        assert not alive(step)
    assert (tmp_path / "step.log").read_text().endswith("up\nsaved\n")
    with plan_lock(tmp_path):
        pass


def test_a_signal_while_the_step_starts_ends_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    class Interrupted(steps.subprocess.Popen):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self.pid)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(steps.subprocess, "Popen", Interrupted)
    with (
        signals_handled(interrupt),
        plan_lock(tmp_path) as lock,
        pytest.raises(KeyboardInterrupt),
    ):
        run_step(sleeping(), tmp_path / "step.log", lock, lambda: None)
    assert len(started) == 1 and not alive(started[0])


def test_a_second_signal_kills_a_step_that_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "GRACE", 100_000)
    monkeypatch.setattr(steps, "ECHO", 0.0)
    stubborn = "import signal, time; signal.signal(10, signal.SIG_IGN); print('up', flush=True); "
    command = [sys.executable, "-c", f"{stubborn}time.sleep(600)"]
    with forked(with_a_step(tmp_path, command), tmp_path / "out") as pid:
        step = step_of(tmp_path, pid)
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: "a signal after 0 s kills it" in (tmp_path / "out").read_text())
        os.kill(pid, signal.SIGHUP)
        assert exit_code(pid) == 77
        assert not alive(step)


def test_an_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after ``nohup``, or in the background of a shell."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_handled(interrupt):
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGTERM) is interrupt
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_step_that_outlives_its_parent_keeps_the_folder(tmp_path: Path) -> None:
    with forked(with_a_step(tmp_path), tmp_path / "out") as pid:
        step = step_of(tmp_path, pid)
        os.kill(pid, signal.SIGKILL)
        assert exit_code(pid) == -signal.SIGKILL
        with pytest.raises(UserError, match=f"or a step that it started, .*process {step}"):
            plan_lock(tmp_path).__enter__()
        os.kill(step, signal.SIGKILL)
        wait_for(lambda: not alive(step))
        with plan_lock(tmp_path):
            pass
