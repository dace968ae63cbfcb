"""Hooks of our own for mmengine's runner."""

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from casvit_dense.errors import UserError
from casvit_dense.results.hashes import digest, plain

#: Key of a checkpoint's ``meta`` that holds how its training went.
TRAINED = "training"


def format_duration(seconds: float) -> str:
    """Seconds as a person says them: ``42 s``, ``3 min 07 s``, ``5 h 12 min``."""
    minutes, secs = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {secs:02d} s" if minutes else f"{secs} s"


class Progress:
    """Counts the steps of one loop and words a line when the last one is old enough.

    Args:
        name: what a step is, e.g. ``'training iteration'``.
        total: steps in the loop.
        seconds: least time between two lines.
    """

    def __init__(self, name: str, total: int, seconds: float) -> None:
        self.name = name
        self.total = total
        self.seconds = seconds
        self.done = 0
        self.started = self.said = time.monotonic()

    def step(self) -> str | None:
        """Counts one step; returns a line when it is time for one."""
        self.done += 1
        now = time.monotonic()
        if now - self.said < self.seconds:
            return None
        self.said = now
        pace = (now - self.started) / self.done
        left = format_duration(pace * (self.total - self.done))
        return f"{self.name} {self.done} of {self.total}, {pace:.2f} s each, {left} left"


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops a training whose loss is no number any more.

    Args:
        interval: steps between two looks; each makes a GPU wait.
    """

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        if not self.every_n_train_iters(runner, self.interval) or not outputs:
            return
        loss = torch.as_tensor(outputs["loss"]).item()
        if not math.isfinite(loss):
            last = runner.message_hub.runtime_info.get("last_ckpt", "none")
            raise UserError(
                f"the loss is {loss} at iteration {runner.iter + 1}; lower the learning rate or go "
                f"without --amp. Last checkpoint: {last}"
            )


@HOOKS.register_module()
class ProgressHook(Hook):
    """Says every so often how far a loop is and how long it will take.

    mmengine's own log lines come every so many iterations, which on a slow machine means minutes
    of silence.

    Args:
        seconds: least time between two lines.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        self.seconds = seconds
        self._loops: dict[str, Progress] = {}

    def _begin(self, mode: str, name: str, total: int) -> None:
        self._loops[mode] = Progress(name, total, self.seconds)

    def before_train(self, runner: Runner) -> None:
        self._begin("train", "training iteration", runner.max_iters - runner.iter)

    def before_val_epoch(self, runner: Runner) -> None:
        self._begin("val", "evaluation batch", len(runner.val_dataloader))

    def before_test_epoch(self, runner: Runner) -> None:
        self._begin("test", "evaluation batch", len(runner.test_dataloader))

    def _after_iter(self, runner: Runner, *args: Any, mode: str = "train", **kwargs: Any) -> None:
        line = self._loops[mode].step()
        if line is not None:
            runner.logger.info(line)


class TrainingRecordHook(Hook):
    """Notes in every checkpoint what its training was, as plain values.

    A run that goes on from a checkpoint keeps that one's record. If the recipe or the batch has
    changed, or nothing says what they were, what comes out is of no recipe that has a name.

    Args:
        record: see `recording.training_record`.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["meta"][TRAINED] = dict(self.record)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Takes over what the resumed run had noted; other checkpoints are only a start."""
        if runner.cfg.get("resume"):
            self.record = continued(checkpoint["meta"].get(TRAINED), self.record)


def continued(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of a training in two parts, the first of which may be unknown."""
    if before is not None:
        changed = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
        if changed <= {"seed"}:
            return before
    return {**now, "seed": None, "recipe_sha256": digest(plain([before, now]))}
