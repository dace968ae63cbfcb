"""Losses and gradients that are not finite: known at their step, before the weights change."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from casvit_dense.checkpoint.formats import MODEL_RECORD
from casvit_dense.errors import UserError, shortlist
from casvit_dense.files import short_path
from casvit_dense.training.kept_step import KEPT_STEPS, kept_batch, write_batches, write_weights
from casvit_dense.training.processes import model_of
from casvit_dense.training.records import TRAINING_RECORD
from casvit_dense.training.saving import numbered

LOG = logging.getLogger("casvit_dense")

#: Key of the training record: iterations whose gradients were dropped.
SKIPPED: Final = "skipped_steps"

#: Steps in a row for which fp16 halved its scale in vain: from the first, 2^16, to 2^-4.
COLLAPSED: Final = 20


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Ends a training at a step whose loss or gradients are not finite, or has it leave it out.

    The norm of all gradients is looked at before each step of an optimizer. A loss that is not
    finite makes all gradients so, and so they are in every process, which exchange them: all
    decide alike. The step is kept for ``casvit-dense replay``.

    With fp16, mmengine's scaler leaves out steps with infinite gradients itself, which is part of
    finding its scale: there the loss is looked at, and whether the scale is ever found.

    Attributes:
        skips: how many steps may be left out; one more ends the run.
        skipped: the steps that were, counted from 1, also before the run was resumed.
    """

    priority = "HIGHEST"  # before the losses are noted

    def __init__(self) -> None:
        self.skips = 0
        self.skipped: list[int] = []
        self._model_record: Mapping[str, Any] = {}
        #: Of the step that is being made: iteration, batch and loss; several if it accumulates.
        self._batches: list[tuple[int, Any]] = []
        self._losses: list[Tensor] = []
        self._looked = self._whole = True
        self._dropped = False
        self._vain = 0  # steps in a row that the scaler left out
        #: What a forward pass changes, and as it was before the step.
        self._statistics: list[Tensor] | None = None
        self._before: list[Tensor] = []

    def begin(
        self, records: Mapping[str, Mapping[str, Any]], skips: int
    ) -> dict[str, Mapping[str, Any]]:
        """Says how many steps may be left out.

        Args:
            records: what checkpoints say of the training, by key of their ``meta``.
            skips: see the attribute.

        Returns:
            The records, which then list the steps that were left out.
        """
        self.skips = skips
        self._model_record = records[MODEL_RECORD]
        return {**records, TRAINING_RECORD: {**records[TRAINING_RECORD], SKIPPED: self.skipped}}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        if runner.cfg.get("resume"):
            record = checkpoint["meta"].get(TRAINING_RECORD)
            skipped = record.get(SKIPPED) if isinstance(record, Mapping) else None
            self.skipped[:] = skipped if isinstance(skipped, list) else []

    def before_train(self, runner: Runner) -> None:
        wrappers = runner.optim_wrapper
        named = wrappers.items() if isinstance(wrappers, OptimWrapperDict) else [("", wrappers)]
        for name, wrapper in named:
            wrapper.update_params = partial(self._update, runner, wrapper)
            scalar = f"train/{name}.grad_norm" if name else "train/grad_norm"
            look = partial(self._before_step, runner, wrapper, scalar)
            wrapper.optimizer.register_step_pre_hook(look)
            if wrapper.clip_grad_kwargs:
                wrapper.clip_func = partial(clip_unless_infinite, wrapper.clip_func)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if self._statistics is None:
            self._statistics = list(statistics_of(runner.model))
            self._before = [tensor.clone() for tensor in self._statistics]
        if not self._batches and self._statistics:
            torch._foreach_copy_(self._before, self._statistics)
        self._batches.append((runner.iter, data_batch))

    def _update(
        self, runner: Runner, wrapper: Any, loss: Tensor, *args: Any, **kwargs: Any
    ) -> None:
        """mmengine's way from a loss to new weights."""
        value = loss.detach()
        self._losses.append(value)
        loss.register_hook(lambda gradient: gradient + 0 * value)
        self._looked = False
        type(wrapper).update_params(wrapper, loss, *args, **kwargs)
        self._whole = wrapper.should_update()
        if self._whole and not self._looked:
            self._after_scaler(runner)

    def _before_step(
        self, runner: Runner, wrapper: Any, scalar: str, optimizer: Any, *args: Any
    ) -> None:
        self._looked = True
        norm = gradient_norm(optimizer)
        if math.isfinite(norm):
            self._vain = 0
            if not (wrapper.clip_grad_kwargs and wrapper.grad_name == "grad_norm"):
                runner.message_hub.update_scalar(scalar, norm)  # as mmengine does where it clips
            return
        self._refuse(runner, f"the norm of the gradients is {norm}")
        optimizer.zero_grad()  # without gradients an optimizer changes nothing

    def _after_scaler(self, runner: Runner) -> None:
        """Looks at a step that the scaler of fp16 left out, as all processes did."""
        self._vain += 1
        if not all(all_gather_object(all(map(math.isfinite, self._losses)))):
            self._refuse(runner, "the loss is not finite")
        elif self._vain >= COLLAPSED:
            self._refuse(runner, f"no scale of fp16 gave finite gradients in {self._vain} steps")

    def _refuse(self, runner: Runner, reason: str) -> None:
        """Keeps the step; called in all processes.

        Raises:
            UserError: no more steps may be left out.
        """
        if self._statistics:
            torch._foreach_copy_(self._statistics, self._before)
        step = runner.iter + 1
        folder = Path(runner.work_dir, KEPT_STEPS, f"iter_{step}")
        kept = self._keep(runner, folder)
        losses = [loss.item() for loss in self._losses]
        images = [name for batch in self._batches for name in kept_batch(*batch).images]
        found = all_gather_object((losses, images, gradients_not_finite(model_of(runner))))
        infinite = [one for one in found if not all(map(math.isfinite, one[0]))]
        if infinite:
            reason = f"the loss is {next(v for v in infinite[0][0] if not math.isfinite(v))}"
        elif names := found[0][2]:
            reason = f"the gradients of {shortlist(names, 3)} are not finite"
        images = [name for one in infinite or found for name in one[1]]
        said = f"{reason} at iteration {step}, with the images {shortlist(images, 4)}. {kept}"
        self.skipped.append(step)
        if len(self.skipped) > self.skips:
            limit = f" {self.skips} such steps were left out before." if self.skips else ""
            last = last_checkpoint(runner)
            message = (
                f"{said}.{limit} Last checkpoint: {last or 'none yet'}. "
                "Look at these images, lower the learning rate, or go without --amp; "
                f"{'--resume ' * bool(last)}--on-nan skip:N goes on without such steps"
            )
            runner.logger.warning(message)  # in the log file; the console gets it as the error
            raise UserError(message)
        LOG.warning(f"left out, {len(self.skipped)} of at most {self.skips}: {said}")
        self._dropped = True

    def _keep(self, runner: Runner, folder: Path) -> str:
        """Writes this process's share of the kept step; returns what the user should know."""
        try:
            write_batches(folder, get_rank(), [kept_batch(*batch) for batch in self._batches])
            if get_rank() == 0:
                meta = {MODEL_RECORD: self._model_record, "processes": get_world_size()}
                write_weights(folder, model_of(runner).state_dict(), meta)
        except UserError as error:
            return f"The step cannot be kept: {error}"
        return f"casvit-dense replay {short_path(folder)} makes the step again"

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        if self._dropped and outputs:
            outputs.clear()  # means of losses would not be finite for many steps
        if self._whole:
            self._batches, self._losses, self._dropped = [], [], False

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        parts = {key: checkpoint.get(key) for key in ("state_dict", "optimizer")}
        if names := list(not_finite(parts)):
            raise UserError(
                f"no checkpoint is written at iteration {runner.iter + 1}: {shortlist(names, 3)} "
                f"are not finite. Last checkpoint: {last_checkpoint(runner) or 'none yet'}. "
                "Lower the learning rate, or go without --amp"
            )

    def after_train(self, runner: Runner) -> None:
        if self.skipped:
            steps = "step was" if len(self.skipped) == 1 else "steps were"
            LOG.warning(
                f"{len(self.skipped)} {steps} left out, not finite: iterations "
                f"{shortlist(self.skipped, 10)}"
            )


def finite_guard(runner: Runner) -> FiniteLossHook:
    """The hook that a config names, or else one that is registered now."""
    for hook in runner.hooks:
        if isinstance(hook, FiniteLossHook):
            return hook
    hook = FiniteLossHook()
    runner.register_hook(hook)
    return hook


def last_checkpoint(runner: Runner) -> Path | None:
    """Which one it is, as people would type it."""
    return next(map(short_path, numbered(Path(runner.work_dir))), None)


def statistics_of(model: nn.Module) -> Iterator[Tensor]:
    """The running statistics of BatchNorm that a forward pass changes."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.training:
            yield from module.buffers(recurse=False)


def clip_unless_infinite(
    clip: Callable[..., Tensor | None], *args: Any, **kwargs: Any
) -> Tensor | None:
    """Clips gradients; the norm that mmengine notes, None where it is not finite.

    Means over the noted ones would not be finite for many steps.
    """
    norm = clip(*args, **kwargs)
    return norm if norm is not None and torch.isfinite(norm) else None


def gradient_norm(optimizer: torch.optim.Optimizer) -> float:
    """The norm of all gradients that an optimizer is about to use; a GPU is waited for.

    A third of the time of torch's `get_total_norm`, which sorts tensors by device first.
    """
    tensors = (tensor for group in optimizer.param_groups for tensor in group["params"])
    gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
    if not gradients:
        return 0.0
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))).item()


def gradients_not_finite(model: nn.Module) -> list[str]:
    """Names of the parameters whose gradients are not finite."""
    named = {name: tensor.grad for name, tensor in model.named_parameters()}
    return list(not_finite(named))


def not_finite(value: Any, name: str = "") -> Iterator[str]:
    """Names of the tensors in nested tables and lists that hold NaN or infinite numbers."""
    if isinstance(value, Tensor):
        if not torch.isfinite(value).all():
            yield name
    elif isinstance(value, Mapping | list | tuple):
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in pairs:
            yield from not_finite(inner, f"{name}.{key}" if name else str(key))
