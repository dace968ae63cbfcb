"""Signals that ask a training to end: received from its start on, and noted.

Slurm, Kubernetes and others send SIGTERM before they end a job, or SIGUSR1 some time ahead.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from casvit_dense.errors import Stopped

#: What asks for an end.
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """Whether this process was asked to end, and by which signal."""

    def __init__(self) -> None:
        self.signal: str | None = None
        #: Whether a request waits for the end of a step, or ends the process at once.
        self.waits = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Notes the first signal; a second one ends the process at once."""
        self.signal = signal.Signals(number).name
        for one in SIGNALS:
            if signal.getsignal(one) is not signal.SIG_IGN:
                signal.signal(one, signal.SIG_DFL)
        if not self.waits:
            raise Stopped(f"stopped by {self.signal} before the first step: nothing to save")
        note = f"{self.signal}: saving after this step; another one ends at once\n"
        os.write(2, note.encode())


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Receives the signals that ask for an end, as long as the context lasts.

    A signal that is ignored stays so, as SIGINT of a job in the background. Outside the main thread
    there are no signals.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {one: signal.getsignal(one) for one in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, request.handle)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
