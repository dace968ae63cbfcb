"""Hooks for mmengine's runner."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook, LoggerHook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

from casvit_dense.engine.console import format_metrics, show_prints
from casvit_dense.engine.memory import peak_memory, resident_memory
from casvit_dense.log import LOG
from casvit_dense.progress import Progress

#: Key of a checkpoint's ``meta``: how its backbone was built.
BACKBONE_RECORD = "backbone_cfg"

#: Options of a backbone that change how it runs, not what it learns.
HOW_IT_RUNS = ("init_cfg", "with_cp")


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows how far a run is, how long it will take, its losses, and each validation's figures.

    A training gets a line whenever mmengine logs one, and every loop after some time: on a slow
    machine mmengine's intervals mean minutes of silence.

    Args:
        seconds: least time between two lines.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        self.seconds = seconds
        self._interval = 0
        self._loops: dict[str, Progress] = {}

    def _begin(self, mode: str, name: str, total: int, first: int = 0) -> None:
        show_prints()  # everything is built
        self._loops[mode] = Progress(name, total, self.seconds, first)

    def before_train(self, runner: Runner) -> None:
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self._interval = loggers[0].interval if loggers else 0
        self._begin("train", "training iteration", runner.max_iters, runner.iter)

    def before_val_epoch(self, runner: Runner) -> None:
        self._begin("val", "evaluation batch", len(runner.val_dataloader))

    def before_test_epoch(self, runner: Runner) -> None:
        self._begin("test", "evaluation batch", len(runner.test_dataloader))

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        due = self._interval > 0 and self.every_n_train_iters(runner, self._interval)
        if due:  # into mmengine's own line, in its unit; of the GPU it has the peak itself
            for name, used in zip(("rss", "rss_workers"), resident_memory(), strict=True):
                runner.message_hub.update_scalar(f"train/{name}", used // 2**20)
        line = self._loops["train"].step(due)
        if line is not None:
            LOG.info(", ".join([line, *training_state(runner, outputs or {})]))

    def _after_iter(self, runner: Runner, *args: Any, mode: str = "train", **kwargs: Any) -> None:
        line = self._loops[mode].step()
        if line is not None:
            LOG.info(line)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        when = f"iteration {runner.iter}"
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            when = f"epoch {runner.epoch}"
        for line in format_metrics(metrics or {}):
            LOG.info(f"validation after {when}: {line}")


def training_state(runner: Runner, outputs: Mapping[str, Any]) -> list[str]:
    """Losses over the last iterations, learning rate and peak memory, for a line of progress.

    Args:
        outputs: what the model's training step returned: the total ``loss`` and its parts.
    """
    scalars, window = runner.message_hub.log_scalars, runner.log_processor.window_size
    losses = {
        name.replace("loss_", ""): f"{scalars[f'train/{name}'].mean(window):.3f}"
        for name in outputs
        if "loss" in name and f"train/{name}" in scalars
    }
    total = losses.pop("loss", None)
    state = [] if total is None else [f"loss {total}"]
    if state and len(losses) > 1:
        parts = ", ".join(f"{name} {value}" for name, value in losses.items())
        state = [f"loss {total} ({parts})"]
    if "train/lr" in scalars:
        state.append(f"lr {scalars['train/lr'].current():.2e}")
    return [*state, f"memory {peak_memory() / 2**30:.1f} GiB"]


@HOOKS.register_module()
class BackboneRecordHook(Hook):
    """Stores in every checkpoint how its backbone was built.

    The tensors do not tell whether BatchNorm was trained, and a run that is resumed with other
    flags would become another experiment.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["meta"][BACKBONE_RECORD] = backbone_record(runner.cfg)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Names the checkpoints of a work directory that was moved where they are now.

        Of those of another one, mmengine would delete the best when a better one is written.
        """
        if not runner.cfg.get("resume"):
            return  # a file that only gives its weights may hold anything else
        info = checkpoint["message_hub"]["runtime_info"]
        places = [key for key in info if "best_ckpt" in key or key == "last_ckpt"]
        folder = Path(runner.work_dir).resolve()
        if all(Path(info[key]).resolve().is_relative_to(folder) for key in places):
            return
        here = {key: Path(runner.work_dir, Path(info[key]).name) for key in places}
        if all(path.is_file() for path in here.values()):
            info.update({key: str(path) for key, path in here.items()})
        else:
            for key in [*places, *(key for key in info if "best_score" in key)]:
                del info[key]


def backbone_record(cfg: Config) -> dict[str, Any]:
    """The options of a config's backbone that change what it learns."""
    backbone = cfg.model.backbone.to_dict()  # plain types: the only ones that may be read back
    return {key: value for key, value in backbone.items() if key not in HOW_IT_RUNS}
