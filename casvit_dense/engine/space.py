"""The disk space of a run: of its checkpoints or predictions, compared with what is free."""

import math
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from torch import nn

from casvit_dense.config.tree import evaluators
from casvit_dense.errors import UserError
from casvit_dense.files import free_bytes
from casvit_dense.progress import counted, format_bytes

#: Bytes an image that predictions take, by kind: 100 boxes, 100 masks, or an index map.
PREDICTED = {"bbox": 16_000, "segm": 40_000, "map": 20_000}

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Schedule:
    """The length of a training, its checkpoints and validations.

    Attributes:
        length: epochs, or iterations where ``by_epoch`` is false.
        by_epoch: whether the schedule counts epochs.
        batch: images per step in each process.
        interval: of checkpoints, in the same unit.
        kept: how many checkpoints are kept; None: all of them.
        best: the best one is kept too.
        validations: evaluations during training.
    """

    length: int
    by_epoch: bool
    batch: int
    interval: int
    kept: int | None
    best: bool
    validations: int

    def steps(self, images: int | None, processes: int) -> int | None:
        """Steps of the whole schedule; None where that needs the number of images.

        Each process takes an equal share of the images, the last batch of an epoch may be smaller.
        """
        if not self.by_epoch:
            return self.length
        if images is None:
            return None
        return self.length * math.ceil(math.ceil(images / processes) / self.batch)

    def disk(self, weights: int, trained: int, moments: int) -> int:
        """Bytes of the checkpoints at the end; the best one has no optimiser state.

        Args:
            weights: bytes of the model's parameters and buffers.
            trained: its trained parameters.
            moments: floats that the optimiser keeps for each.
        """
        written = math.ceil(self.length / self.interval)
        whole = checkpoint_bytes(weights, trained, moments)
        return whole * min(written, self.kept or written) + weights * self.best


def checkpoint_bytes(weights: int, trained: int, moments: int) -> int:
    """Bytes of one checkpoint with its optimiser's state; see `Schedule.disk`."""
    return weights + trained * moments * FLOAT_BYTES


def schedule_of(cfg: Config) -> Schedule:
    """The schedule of a resolved config."""
    train, hook = cfg.train_cfg, cfg.default_hooks.checkpoint
    by_epoch = train.get("max_epochs") is not None
    length = train.max_epochs if by_epoch else train.max_iters
    kept = hook.get("max_keep_ckpts", -1)
    begin, interval = train.get("val_begin", 1), train.get("val_interval", 1 if by_epoch else 1000)
    due = [step for step in range(interval, length + 1, interval) if step >= begin]
    return Schedule(
        length=length,
        by_epoch=by_epoch,
        batch=cfg.train_dataloader.batch_size,
        interval=hook.get("interval", 1),
        kept=kept if kept > 0 else None,
        best=bool(hook.get("save_best")),
        validations=len(due) + (length % interval != 0),  # the end is always validated
    )


def moments_of(cfg: Config) -> int:
    """Floats that a config's optimiser keeps for each parameter; as many as Adam where unknown."""
    optimizer = cfg.optim_wrapper.optimizer
    if optimizer.type == "SGD":
        return int(bool(optimizer.get("momentum")))
    return 2


def check_training_space(cfg: Config, model: nn.Module) -> list[str]:
    """Compares the checkpoints of a training with what is free where they go.

    Returns:
        What the user should be told before the training begins.

    Raises:
        UserError: not even one fits.
    """
    hook = (cfg.get("default_hooks") or {}).get("checkpoint")
    if not hook:
        return []
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    moments = moments_of(cfg)
    one = checkpoint_bytes(weights, trained, moments)
    # A new one is whole before an old one goes; those of a resumed run are there already.
    needed = schedule_of(cfg).disk(weights, trained, moments) + one
    folder = Path(hook.get("out_dir") or cfg.work_dir)
    free, there = free_bytes(folder), sum(file.stat().st_size for file in folder.glob("*.pth"))
    if free < one:
        raise UserError(
            f"{folder} has {format_bytes(free)} free, and one checkpoint takes about "
            f"{format_bytes(one)}: make room, or give --work-dir on another disk"
        )
    if free + there >= needed:
        return []
    return [
        f"{folder} has {format_bytes(free)} free, and the checkpoints take up to "
        f"{format_bytes(needed - there)} more ({format_bytes(one)} each): make room, or keep fewer "
        "by --cfg-options default_hooks.checkpoint.max_keep_ckpts=1"
    ]


def check_test_space(cfg: Config, images: int) -> list[str]:
    """Compares the predictions of an evaluation with what is free in its folder.

    Returns:
        What the user should be told before the evaluation begins.
    """
    kinds: list[str] = []
    for metric in evaluators(cfg):
        if metric.get("outfile_prefix"):
            kinds += [metric.metric] if isinstance(metric.metric, str) else metric.metric
        elif metric.get("output_dir"):
            kinds.append("map")
    needed = images * sum(PREDICTED.get(kind, 0) for kind in kinds)
    free = free_bytes(Path(cfg.work_dir))
    if free >= needed:
        return []
    return [
        f"{cfg.work_dir} has {format_bytes(free)} free, and the predictions of "
        f"{counted(images, 'image')} take up to {format_bytes(needed)}"
    ]
