"""Ends a training at the next step when a signal asks for it, with everything saved."""

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import worker_init_fn
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner

from casvit_dense.errors import Stopped
from casvit_dense.files import short_path
from casvit_dense.signals import SIGNALS, StopRequest
from casvit_dense.training.saving import STOPPED, step_is_whole


class StopHook(Hook):
    """Saves and ends the training when any of its processes was asked to, all at the same step.

    Args:
        request: of this process.
    """

    priority = "LOWEST"  # after all that belongs to a step

    def __init__(self, request: StopRequest) -> None:
        self.request = request
        self._group: Any = None
        self._asked: Any = None  # what was asked in the step before, and its answer to wait for

    def before_train(self, runner: Runner) -> None:
        self.request.waits = True
        if get_world_size() > 1:
            # On CPUs, so that no GPU is waited for.
            self._group = torch.distributed.new_group(backend="gloo")

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if self._agreed() and step_is_whole(runner):
            self._stop(runner, runner.iter + 1)

    def after_val_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        loader = runner.val_dataloader
        images = len(loader.dataset) // get_world_size()
        # Some processes may have one batch more.
        last = batch_idx >= images // (loader.batch_size or 1)
        if not last and self._agreed() and step_is_whole(runner):
            self._stop(runner, runner.iter)

    def _agreed(self) -> bool:
        """Whether some process was asked, as all of them know since the last step."""
        if self._group is None:
            return self.request.signal is not None
        known = False
        if self._asked is not None:
            flag, work = self._asked
            work.wait()
            known = bool(flag.item())
        flag = torch.tensor(int(self.request.signal is not None))
        work = torch.distributed.all_reduce(
            flag, torch.distributed.ReduceOp.MAX, self._group, async_op=True
        )
        self._asked = flag, work
        return known

    def _stop(self, runner: Runner, iteration: int) -> None:
        path = save_between(runner, iteration)
        if self._group is not None:
            self._asked[1].wait()
            torch.distributed.barrier(self._group)
        by = self.request.signal or "another process"
        said = f"stopped by {by} at iteration {iteration}: saved as {path}, where --resume goes on"
        runner.logger.info(said)  # in the log file, and the console gets it as the end
        raise Stopped(said)


@FUNCTIONS.register_module()
def begin_worker(worker_id: int, **seeds: int) -> None:
    """Begins a loader's worker: seeded, and ended by nobody but its main process.

    Signals to a whole job reach workers, too; one that ends on its own breaks the very step in
    which the main process is about to save.

    Args:
        worker_id: see torch.
        **seeds: of mmengine's ``worker_init_fn``, if any.
    """
    if seeds:
        worker_init_fn(worker_id, **seeds)
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        return
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def watch() -> None:
        while signal.sigwaitinfo(SIGNALS).si_pid != parent:
            pass
        os._exit(0)  # as asked: torch would call another code a failure, even when all is over

    threading.Thread(target=watch, daemon=True).start()


def with_steady_workers(loader: Mapping[str, Any], seed: int | None) -> dict[str, Any]:
    """The config of a loader whose workers begin by `begin_worker`, unless it has its own way."""
    content = dict(loader)
    workers = content.get("num_workers", 0)
    if not workers or "worker_init_fn" in content:
        return content
    content.pop("disable_subprocess_warning", None)
    # Workers add their numbers to it, and numpy's seeds end at 2^32.
    seeds = (
        {} if seed is None else {"num_workers": workers, "rank": get_rank(), "seed": seed % 2**31}
    )
    return {**content, "worker_init_fn": {"type": "begin_worker", **seeds}}


def save_between(runner: Runner, iteration: int) -> Path:
    """Saves a training between two regular checkpoints; returns where, as people would type it."""
    name = STOPPED.format(iteration)
    runner.save_checkpoint(runner.work_dir, name, meta={"epoch": runner.epoch, "iter": iteration})
    return short_path(Path(runner.work_dir, name))
