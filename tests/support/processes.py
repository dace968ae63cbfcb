"""Copies of the test's own process: the frameworks are imported already, which takes seconds."""

import contextlib
import io
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path


@contextlib.contextmanager
def forked(work: Callable[[], int], log: Path) -> Iterator[int]:
    """Runs something in a copy of this process, in a process group of its own; gives its id."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            # As at a terminal: a suite in the background ignores Ctrl-C, one under nohup SIGHUP.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(file, stream)
            sys.stdout, sys.stderr = (
                io.TextIOWrapper(io.FileIO(n, "w"), line_buffering=True) for n in (1, 2)
            )
            os._exit(work())
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(99)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def wait_for(condition: Callable[[], object], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def started(work: Callable[[], int], count: int, logs: Path) -> Iterator[list[int]]:
    """Starts something in processes that a launcher seems to have started; gives their ids.

    What each says is in ``rank<N>.log``. One process needs no launcher.
    """
    port = free_port()

    def start(rank: int) -> int:
        if count > 1:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            os.environ.update(WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count))
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        return work()

    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(forked(partial(start, rank), logs / f"rank{rank}.log"))
            for rank in range(count)
        ]


def run_together(
    work: Callable[[], int], count: int, logs: Path, awaited: int | None = None
) -> list[int]:
    """Runs something in processes, see `started`; gives their exit codes.

    Args:
        awaited: how many of the processes are waited for; then the others are ended.
    """
    with started(work, count, logs) as pids:
        return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids[:awaited]]


def ended(pid: int) -> bool:
    """Whether a process has ended; its status is kept."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
