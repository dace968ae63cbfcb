"""A bound on the time without a step, in runs of several processes.

A process that was stopped, or waits for a disk that does not answer, keeps all others waiting.
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.distributed import PrefixStore, TCPStore

from casvit_dense.errors import Stopped

#: What a loop counts, by mmengine's modes.
COUNTED: Final = {
    "train": "training iteration",
    "val": "validation batch",
    "test": "evaluation batch",
}


class Watch:
    """Ends this process when its run makes no step for too long, and says which process is behind.

    Each process tells the others, through the store of the process group, how many steps it has
    made. A thread of its own does so, every few seconds: a step costs an addition. A process that
    was stopped tells nothing, one that hangs tells the same again and again.

    The time during which the whole run is suspended does not count.

    Args:
        bound: seconds without a step.
    """

    def __init__(self, bound: float, rank: int, processes: int) -> None:
        self.bound, self.rank, self.processes = bound, rank, processes
        self.period = min(5.0, max(0.2, bound / 20))
        self.steps, self.where = 0, "start-up"
        self._beats = 0
        self._over = threading.Event()
        self._main = threading.main_thread().ident
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(*place, is_master=False, wait_for_workers=False)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._store = PrefixStore(f"watch/{attempt}", store)
        self._tell()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def step(self, where: str) -> None:
        """Notes a step that every process makes.

        Args:
            where: how far the run is now, in words.
        """
        self.where = where
        self.steps += 1

    def close(self) -> None:
        """Ends the watch of this process."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        seen, idle, last = self.steps, 0.0, time.monotonic()
        while not self._over.wait(self.period):
            now = time.monotonic()
            # A longer pause than asked for: this process, or the machine, was suspended.
            idle = 0.0 if self.steps != seen else idle + min(now - last, 2 * self.period)
            seen, last = self.steps, now
            if not self._tell():
                return  # with the store, the run is over
            if idle > self.bound:
                self._end()

    def _tell(self) -> bool:
        self._beats += 1
        frame = sys._current_frames().get(self._main or 0)
        about = {
            "rank": self.rank,
            "beats": self._beats,
            "steps": self.steps,
            "where": self.where,
            "process": f"{socket.gethostname()}, process {os.getpid()}",
            "code": frame and f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}",
        }
        try:
            self._store.set(str(self.rank), json.dumps(about))
        except RuntimeError:
            return False
        return True

    def _end(self) -> None:
        """Ends this process; one of those that do says why."""
        answer: list[str | None] = []

        def ask() -> None:
            with suppress(RuntimeError):  # as of a store that is gone
                answer.append(self._ask())

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()  # the store's own timeout does not hold when its process was stopped
        asking.join(10 * self.period)
        # Without launcher, the first process keeps the store.
        line = answer[0] if answer else "rank 0, through which the processes talk, does not answer"
        if line is not None and (answer or self.rank == 1):
            print(
                f"error: no step for {self.bound:g} s: {line}. The run ends here, and can be "
                "resumed",
                file=sys.stderr,
                flush=True,
            )
        os._exit(Stopped.exit_code)

    def _ask(self) -> str | None:
        """Who is behind; None where another process says it."""
        before = self._told()
        for _ in range(3):
            time.sleep(self.period)
            self._tell()
        line = blame(before, self._told())
        return line if self._store.add("said", 1) == 1 else None

    def _told(self) -> list[dict[str, Any]]:
        keys = map(str, range(self.processes))
        self._store.set_timeout(timedelta(seconds=self.period))
        return [json.loads(self._store.get(key)) for key in keys]


def blame(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> str:
    """Which processes keep the others waiting, and where they are.

    Args:
        before: what each process told some time ago.
        now: what each told last.
    """
    silent = [new for old, new in zip(before, now, strict=True) if old["beats"] == new["beats"]]
    if silent:
        return "; ".join(f"{_name(one)} has not answered since {one['where']}" for one in silent)
    most = max(one["steps"] for one in now)
    behind = [one for one in now if one["steps"] < most]
    ahead = next(one for one in now if one["steps"] == most)
    names = "; ".join(f"{_name(one)} hangs at {one['where']} ({one['code']})" for one in behind)
    if names:
        return f"{names}; the others wait at {ahead['where']}"
    places = ", ".join(f"rank {one['rank']} in {one['code']}" for one in now)
    return f"all processes wait at {ahead['where']}: {places}"


def _name(one: Mapping[str, Any]) -> str:
    return f"rank {one['rank']} ({one['process']})"


class WatchHook(Hook):
    """Tells the watch of every step of the runner's loops."""

    priority = "VERY_HIGH"

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def _before_iter(
        self, runner: Runner, batch_idx: int, *args: Any, mode: str, part: str = "", **kwargs: Any
    ) -> None:
        number = runner.iter if mode == "train" else batch_idx
        self.watch.step(f"{part}{COUNTED[mode]} {number + 1}")

    def _after_iter(self, *args: Any, **kwargs: Any) -> None:
        self._before_iter(*args, part="the end of ", **kwargs)
