"""One step as a process: its log, its end, and the folder's lock."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import forked, wait_for

from casvit_dense.errors import UserError
from casvit_dense.reproduce import child
from casvit_dense.reproduce.child import alone, latest_progress, run_child


def sleeping(seconds: float = 60) -> list[str]:
    return [sys.executable, "-c", f"import time; print('up', flush=True); time.sleep({seconds})"]


def test_a_child_writes_its_log_and_gives_its_status(tmp_path: Path) -> None:
    log = tmp_path / "new/x.log"
    with alone(tmp_path / "w") as lock:
        for status in (0, 3):
            command = [sys.executable, "-c", f"print('out'); raise SystemExit({status})"]
            assert run_child(command, log, lock, lambda: None) == status
    lines = log.read_text().splitlines()
    assert lines.count("out") == 2 and sum(line.startswith("$ ") for line in lines) == 2


def test_progress_is_said_in_the_words_of_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "SAY_EVERY", 0.2)
    monkeypatch.setattr(child, "LOOK_EVERY", 0.05)
    words = "training iteration 3 of 9, 0.50 s each, 3 s left"
    log, said = tmp_path / "x.log", []
    script = f"import time; print('x - INFO - {words}', flush=True); print('y'); time.sleep(1)"
    with alone(tmp_path) as lock:
        tick = lambda: said.append(latest_progress(log))  # noqa: E731
        run_child([sys.executable, "-c", script], log, lock, tick)
    assert words in said
    log.write_text(f"{words}\n$ the next command\nnothing yet\n")
    assert latest_progress(log) == "", "what an earlier process said is over"


def test_a_program_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    with alone(tmp_path) as lock, pytest.raises(UserError, match="no-such-program cannot be"):
        run_child(["no-such-program"], tmp_path / "x.log", lock, lambda: None)


def test_one_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(UserError, match=f"works in .*process {os.getpid()}"):
        alone(tmp_path).__enter__()
    with alone(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be used"):
        alone(tmp_path / "file/w").__enter__()


def test_a_disk_without_locks_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(lock: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(child.fcntl, "flock", flock)
    with pytest.raises(UserError, match="cannot be locked: .*; give --work-dirs on another disk"):
        alone(tmp_path).__enter__()


def with_a_step(folder: Path) -> Callable[[], int]:
    def work() -> int:
        try:
            with child.ended_by_signals(), alone(folder) as lock:
                return run_child(sleeping(), folder / "step.log", lock, lambda: None)
        except KeyboardInterrupt:
            return 77

    return work


def holder(folder: Path) -> int:
    """Process that the lock's file names."""
    return int((folder / ".reproduce.lock").read_text())


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_step_too(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "step.log"
    with forked(with_a_step(tmp_path), tmp_path / "out") as pid:
        wait_for(lambda: log.is_file() and "up" in log.read_text())
        step = holder(tmp_path)
        assert step != pid and alive(step)
        os.kill(pid, number)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 77
        assert not alive(step)
    with alone(tmp_path):
        pass


def test_a_step_that_outlives_its_parent_keeps_the_folder(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    with forked(with_a_step(tmp_path), tmp_path / "out") as pid:
        wait_for(lambda: log.is_file() and "up" in log.read_text())
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        step = holder(tmp_path)
        with pytest.raises(UserError, match=f"or a step that it started, .*process {step}"):
            alone(tmp_path).__enter__()
        os.kill(step, signal.SIGKILL)
        wait_for(lambda: not alive(step))
        with alone(tmp_path):
            pass
