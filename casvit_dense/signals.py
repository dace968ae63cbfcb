"""Signals that ask a training to end: received from its start on, and noted.

Slurm, Kubernetes and others send SIGTERM before they end a job, or SIGUSR1 some time ahead; a
terminal that is closed sends SIGHUP.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from casvit_dense.errors import Stopped

#: What asks for an end.
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)

#: Seconds within which further signals belong to the first: Slurm and terminals signal every
#: process of a job, and torchrun passes on to its own what it gets.
ECHO: Final = 5.0


class StopRequest:
    """Whether this process was asked to end, and by which signal.

    Args:
        speaks: whether it says so on the console.
    """

    def __init__(self, speaks: bool = True) -> None:
        self._speaks = speaks
        self.signal: str | None = None
        self._since: float | None = None
        #: Whether a request waits for the end of a step, or ends the process at once.
        self.waits = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Notes the first signal; one that comes later than its echoes ends the process at once."""
        name = signal.Signals(number).name
        if self._since is not None and time.monotonic() - self._since > ECHO:
            say(f"{name}: ended at once, nothing saved")
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if self._since is not None:
            return
        self._since = time.monotonic()
        self.ask(name)
        if not self.waits:
            raise Stopped(f"stopped by {name} before the first step: nothing to save")
        if self._speaks:
            say(f"{name}: saving after this step; another one after {ECHO:.0f} s ends at once")

    def ask(self, by: str) -> None:
        """Notes that somebody asks for the end, unless somebody has."""
        self.signal = self.signal or by


def say(line: str) -> None:
    """Writes a line to the console as a handler of signals may, if there still is one."""
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())


#: Of the innermost `stop_requests`.
_current: StopRequest | None = None


@contextmanager
def stop_requests(speaks: bool = True) -> Iterator[StopRequest]:
    """Receives the signals that ask for an end, as long as the context lasts; see `StopRequest`.

    A signal that is ignored stays so, as SIGINT of a job in the background. Outside the main thread
    there are no signals.
    """
    request = StopRequest(speaks)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    global _current
    outer, _current = _current, request
    before = {one: signal.getsignal(one) for one in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, request.handle)
    try:
        yield request
    finally:
        if outer is not None and request.waits:  # it was made: all that is left is to end
            outer.waits, outer._speaks = True, False
        _current = outer
        for number, handler in before.items():
            signal.signal(number, handler)


def ask_to_stop(by: str) -> bool:
    """Has the training of this process end after its step; whether there is one that can."""
    if _current is None or not _current.waits:
        return False
    _current.ask(by)
    return True
