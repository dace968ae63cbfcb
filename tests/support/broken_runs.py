"""Trainings that are broken off, and whether they end as those that are not."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from demo_runs import config_of, options_of
from processes import started

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.engine.train import train
from casvit_dense.errors import Stopped
from casvit_dense.options import RunOptions
from casvit_dense.reproduce.state import read_progress
from casvit_dense.signals import stop_requests
from casvit_dense.training.draws import StepSeedHook
from casvit_dense.training.saving import numbered


def options_for(
    task: str, shapes: Path, work_dir: Path, rounds: int = 2, **more: Any
) -> RunOptions:
    """As the demo's, with all checkpoints kept; ``more`` are fields of `RunOptions`."""
    options = options_of(task, shapes, work_dir, rounds=rounds)
    options.cfg_options["default_hooks.checkpoint.max_keep_ckpts"] = -1
    for key, value in more.items():
        setattr(options, key, value)
    return options


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two checkpoints in weights, optimizer and schedule, to the last bit."""
    names: list[str] = []
    for key in ("state_dict", "optimizer", "param_schedulers"):
        first, second = (dict(flat(read_checkpoint(path)[key], key)) for path in (one, other))
        names += sorted(first.keys() ^ second.keys())
        names += [
            name
            for name in first.keys() & second.keys()
            if not torch.equal(torch.as_tensor(first[name]), torch.as_tensor(second[name]))
        ]
    return names


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The tensors and numbers inside a value, by dotted name."""
    if isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from flat(inner, f"{name}.{key}")
    elif isinstance(value, torch.Tensor | int | float):
        yield name, value


@contextmanager
def signal_at(iteration: int, number: signal.Signals) -> Iterator[None]:
    """Sends a signal to this process in the middle of an iteration, counted from 1."""
    seed = StepSeedHook.before_train_iter

    def signalled(self: StepSeedHook, runner: Any, *args: Any, **kwargs: Any) -> None:
        seed(self, runner, *args, **kwargs)
        if runner.iter + 1 == iteration:
            os.kill(os.getpid(), number)

    StepSeedHook.before_train_iter = signalled  # type: ignore[method-assign]
    try:
        yield
    finally:
        StepSeedHook.before_train_iter = seed  # type: ignore[method-assign]


#: Seconds that processes have to end after one of them did.
GRACE = 60.0

#: Exit code of a training that a signal stopped, as the command line has it.
STOPPED = 75


def work(task: str, shapes: Path, folder: Path, workers: int, processes: int) -> int:
    """Trains for three rounds from where the folder stands; gives the exit code."""
    options = options_for(task, shapes, folder, rounds=3, workers=workers, resume="auto")
    if processes > 1:
        options.launcher = "pytorch"
    options.cfg_options["experiment_name"] = f"{folder.name} {time.time_ns()}"
    try:
        with stop_requests():
            if read_progress(folder).last is None:  # else it was broken off after its end
                train(config_of(task), options)
    except Stopped as stop:
        print(stop, flush=True)
        return STOPPED
    return 0


def run(job: Callable[[], int], processes: int, logs: Path, seconds: float | None = None) -> bool:
    """Runs to the end, which must be a good one, or kills after some seconds; whether it ended."""
    with started(job, processes, logs) as pids:
        codes = finish(pids, seconds)
    assert codes in (None, [0] * processes), (codes, (logs / "rank0.log").read_text()[-2000:])
    return codes is not None


def finish(pids: list[int], seconds: float | None = None) -> list[int] | None:
    """The exit codes at the end; None where the run was killed after some seconds.

    Where one process ends early the others are killed some time later, as launchers do.
    """
    end = time.monotonic() + seconds if seconds is not None else None
    alone = None
    codes: dict[int, int] = {}
    while len(codes) < len(pids):
        for pid in pids:
            if pid not in codes:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    codes[pid] = os.waitstatus_to_exitcode(status)
        if alone is None and any(codes.values()):
            alone = time.monotonic() + GRACE
        late = end is not None and time.monotonic() >= end
        if late or (alone is not None and time.monotonic() >= alone):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            if late:
                for pid in set(pids) - codes.keys():
                    os.waitpid(pid, 0)
                return None
        time.sleep(0.01)
    return [codes[pid] for pid in pids]


class Disturbed:
    """A training that is to be broken off, and the same one that nobody disturbed.

    Attributes:
        job: goes on with the training, see `work`.
        logs: folder of what its processes say.
        seconds: that a whole training takes.
    """

    def __init__(self, root: Path, task: str, workers: int, processes: int) -> None:
        self.processes, self.logs = processes, root / f"{task}-{workers}-{processes}"
        self.whole, self.broken = self.logs / "whole", self.logs / "broken"
        self.logs.mkdir()
        job = partial(work, task, root / "shapes", workers=workers, processes=processes)
        self.job = partial(job, self.broken)
        begun = time.monotonic()
        run(partial(job, self.whole), processes, self.logs)
        self.seconds = time.monotonic() - begun

    def begin_last_part_again(self, chance: random.Random) -> None:
        """Takes a training that has come to its end back to the middle."""
        for path in numbered(self.broken)[: chance.randrange(1, 3)]:
            path.unlink()

    def differences(self) -> list[str]:
        """Goes on to the end, and says what differs there."""
        run(self.job, self.processes, self.logs)
        return differences(numbered(self.whole)[0], numbered(self.broken)[0])
