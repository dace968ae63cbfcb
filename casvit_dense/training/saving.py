"""Checkpoints of a training: written whole, the newest and the best kept."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from casvit_dense.checkpoint.whole import remove_whole

#: Checkpoint of a run that was stopped between two regular ones.
STOPPED: Final = "stopped_iter_{}.pth"

#: Checkpoints that a run can be resumed from, not the copy of the best one.
NUMBERED: Final = re.compile(r"(?:stopped_)?(?:epoch|iter)_(\d+)\.pth")

#: Key of mmengine's message hub: iterations after which the latest validation was made, 0 before
#: the first one; absent where there are none.
VALIDATED: Final = "validated"

#: mmengine writes it beside the checkpoints of a training.
LAST_CHECKPOINT: Final = "last_checkpoint"


def is_stopped(path: Path) -> bool:
    """Whether a checkpoint was written where a run was stopped, between two regular ones."""
    return path.name.startswith(STOPPED.partition("{")[0])


def numbered(folder: Path) -> list[Path]:
    """The checkpoints of a run, readable or not, newest first."""
    names = {path: NUMBERED.fullmatch(path.name) for path in folder.glob("*.pth")}
    numbers = {path: int(name[1]) for path, name in names.items() if name}
    return sorted(numbers, key=lambda p: (p.stat().st_mtime, numbers[p]), reverse=True)


def step_is_whole(runner: Runner) -> bool:
    """Whether no gradients wait for the rest of an accumulated step; checkpoints do not hold them.

    Epochs and intervals may end in the middle of a step; a training never does.
    """
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return all(one.should_update() for one in wrappers)


@HOOKS.register_module()
class KeepingHook(CheckpointHook):
    """mmengine's hook, which removes a checkpoint only after the one that replaces it is written.

    mmengine removes first, and forgets what it wrote before a run was broken off. A checkpoint
    that is due inside an accumulated step is written at the end of the step.
    """

    def __init__(self, max_keep_ckpts: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._kept = max_keep_ckpts
        self._due = False

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if runner.val_loop is not None:  # every checkpoint says how far validations are
            hub = runner.message_hub
            hub.update_info(VALIDATED, hub.get_info(VALIDATED, 0))

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        super().after_train_iter(runner, *args, **kwargs)
        if self._due and step_is_whole(runner):
            iteration, epoch = runner.iter + 1, runner.epoch
            step = epoch if self.by_epoch else iteration
            self._save_checkpoint_with_step(runner, step, {"epoch": epoch, "iter": iteration})

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        self._due = not step_is_whole(runner)
        if self._due:
            return
        try:
            super()._save_checkpoint_with_step(runner, step, meta)
        except OSError:  # of this file: checkpoints say it themselves
            Path(runner.work_dir, LAST_CHECKPOINT).unlink(missing_ok=True)
            raise
        if not is_main_process():
            return
        files = numbered(Path(self.out_dir))
        regular = [path for path in files if not is_stopped(path)]
        old = regular[self._kept :] if self._kept > 0 else []
        remove_whole([*filter(is_stopped, files), *old])

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Keeps the best; the last checkpoint then says that no validation is missing."""
        runner.message_hub.update_info(VALIDATED, runner.iter)
        step = runner.epoch if self.by_epoch else runner.iter
        written = Path(runner.message_hub.runtime_info.get("last_ckpt", "")).name
        end = runner.iter == runner.max_iters and written == self.filename_tmpl.format(step)
        if end:
            self.last_ckpt = None  # is written again here, whatever is the best
        super().after_val_epoch(runner, metrics)
        if end:
            meta = {"epoch": runner.epoch, "iter": runner.iter}
            self._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: Mapping[str, Any]) -> None:
        if not self.save_best:
            return
        info = runner.message_hub.runtime_info
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = None  # is not removed yet
        else:
            self.best_ckpt_path_dict = dict.fromkeys(self.key_indicators)
        super()._save_best_checkpoint(runner, metrics)
        if not is_main_process():
            return
        for key in self.key_indicators:
            place = "best_ckpt" if len(self.key_indicators) == 1 else f"best_ckpt_{key}"
            # Names of metrics may begin alike: bbox_mAP, bbox_mAP_50.
            written = f"best_{key}_{self.filename_tmpl.format('*')}".replace("/", "_")
            best = place in info and Path(info[place]).name
            remove_whole(p for p in Path(self.out_dir).glob(written) if best and p.name != best)
