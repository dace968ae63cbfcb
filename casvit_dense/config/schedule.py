"""How long a training takes, in which steps, and a learning rate that fits its length."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mmengine.config import Config, ConfigDict

from casvit_dense.config.image_size import set_image_size
from casvit_dense.config.tree import parts_of
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions
from casvit_dense.training.schedulers import warmup_steps

#: Most of a training that a warm-up may take.
WARMUP_SHARE: Final = 0.1

#: Places of a scheduler on the time axis; others of its arguments are of no length.
PLACES: Final = ("begin", "end", "T_max")
#: Arguments of schedulers that count steps and have no fractions.
UNFIT: Final = ("step_size", "periods", "restart_weights", "total_steps", "num_steps")

FLOAT_BYTES: Final = 4


@dataclass(frozen=True)
class Length:
    """Of a training, in the unit that its loop counts."""

    count: int
    by_epoch: bool

    @property
    def unit(self) -> str:
        return "epochs" if self.by_epoch else "iterations"

    @property
    def key(self) -> str:
        """Of ``train_cfg``."""
        return "max_epochs" if self.by_epoch else "max_iters"


def apply_schedule(cfg: Config, options: RunOptions) -> None:
    """Applies the flags of length, batch, learning rate and image size.

    The learning rate is stretched to the length where that is asked for or where the data are not
    those that the recipe was made for.

    Raises:
        UserError: the config has no place for a flag.
    """
    if options.batch_size is not None:
        section(cfg, "train_dataloader", "--batch-size").batch_size = options.batch_size
    if options.lr is not None:
        optimizer = section(cfg, "optim_wrapper", "--lr").get("optimizer")
        if optimizer is None:
            raise UserError(f"--lr: {cfg.filename} has no optim_wrapper.optimizer")
        optimizer.lr = options.lr
    if options.image_size is not None:
        set_image_size(cfg, options.image_size)
    if options.epochs is not None:
        set_length(cfg, Length(options.epochs, by_epoch=True), "--epochs")
    elif options.iters is not None:
        set_length(cfg, Length(options.iters, by_epoch=False), "--iters")
    elif options.data is not None and cfg.get("train_cfg"):
        set_length(cfg, length_of(cfg, "--data"), "--data")


def section(cfg: Config, name: str, flag: str) -> ConfigDict:
    """A section of a config that a flag needs."""
    found = cfg.get(name)
    if not found:
        raise UserError(f"{flag}: {cfg.filename} has no {name}")
    return found


def length_of(cfg: Config, flag: str) -> Length:
    """The length of a config's training."""
    train_cfg = section(cfg, "train_cfg", flag)
    for key in ("max_epochs", "max_iters"):
        if train_cfg.get(key) is not None:
            return Length(train_cfg[key], by_epoch=key == "max_epochs")
    raise UserError(f"{flag}: train_cfg of {cfg.filename} has neither max_epochs nor max_iters")


def set_length(cfg: Config, new: Length, flag: str) -> None:
    """Sets how long a training takes, and everything that follows from it.

    The learning rate keeps its course over the training; a warm-up takes a tenth of it at most.
    Validations and checkpoints come as often as before over the whole training.
    """
    old = length_of(cfg, flag)
    fit_schedulers(cfg, old, new)
    train_cfg = cfg.train_cfg
    interval = scaled_interval(train_cfg.get("val_interval", 1), old, new)
    if old.by_epoch == new.by_epoch:
        train_cfg[new.key] = new.count
        train_cfg.val_interval = interval
        for key in ("val_begin", "dynamic_intervals"):
            train_cfg.pop(key, None)
    else:
        loop = "EpochBasedTrainLoop" if new.by_epoch else "IterBasedTrainLoop"
        cfg.train_cfg = ConfigDict({"type": loop, new.key: new.count, "val_interval": interval})
    hooks = cfg.get("default_hooks") or {}
    checkpoints = hooks.get("checkpoint")
    if checkpoints and checkpoints.get("by_epoch", True) == old.by_epoch:
        checkpoints.by_epoch = new.by_epoch
        checkpoints.interval = scaled_interval(checkpoints.get("interval", 1), old, new)
    if old.by_epoch != new.by_epoch:
        sampler = cfg.train_dataloader.get("sampler")
        ours = ("InfiniteSampler", "DefaultSampler")
        if sampler and sampler.get("type") in ours:
            sampler.type = ours[new.by_epoch]
        if logger := hooks.get("logger"):
            logger.log_metric_by_epoch = new.by_epoch
        cfg.setdefault("log_processor", ConfigDict()).by_epoch = new.by_epoch


def scaled_interval(interval: int, old: Length, new: Length) -> int:
    """An interval that comes as often over a training of another length."""
    return max(1, min(new.count, round(interval * new.count / old.count)))


# ---- the learning rate


def is_warmup(scheduler: Mapping[str, Any]) -> bool:
    """Whether a scheduler raises the rate linearly from the first step on."""
    rises = scheduler.get("start_factor", 1 / 3) < scheduler.get("end_factor", 1.0)
    begins = scheduler.get("begin", 0) == 0
    return scheduler["type"] in ("LinearLR", "WarmupLR") and rises and begins


def fit_schedulers(cfg: Config, old: Length, new: Length) -> None:
    """Stretches the learning rate of a config to another length of its training."""
    moved: dict[float, float] = {}  # where a warm-up ended -> where it ends now
    fitted: list[ConfigDict] = []
    schedulers = parts_of(cfg.get("param_scheduler"))
    for scheduler in sorted(schedulers, key=lambda one: not is_warmup(one)):
        if is_warmup(scheduler):
            end = scheduler.get("end")
            warmup = fit_warmup(scheduler, old, new)
            if warmup is not None:
                fitted.append(warmup)
            if end is not None:
                moved[end] = warmup.end if warmup else 0
        else:
            fitted.append(stretch(scheduler, old, new, moved))
    if schedulers:
        cfg.param_scheduler = fitted


def fit_warmup(scheduler: ConfigDict, old: Length, new: Length) -> ConfigDict | None:
    """A warm-up for another length; None where a tenth of it holds no two steps."""
    limit, end = WARMUP_SHARE * new.count, scheduler.get("end", old.count)
    counts_steps = old.by_epoch and not scheduler.get("by_epoch", True)
    fitted = ConfigDict({**scheduler, "by_epoch": new.by_epoch})
    fitted.pop("convert_to_iter_based", None)
    if scheduler["type"] == "WarmupLR":
        counts_steps, end = scheduler.get("steps") is not None, scheduler.get("steps") or end
    if not counts_steps:
        limit = min(limit, end / old.count * new.count)
    if new.by_epoch:
        fitted.update(type="WarmupLR", end=limit, convert_to_iter_based=True)
        if counts_steps:
            fitted.steps = end
        return fitted
    steps = min(int(limit), end) if counts_steps else int(limit)
    fitted.pop("steps", None)
    fitted.update(type="LinearLR", end=steps)
    return fitted if steps >= 2 else None


def stretch(
    scheduler: ConfigDict, old: Length, new: Length, moved: Mapping[float, float]
) -> ConfigDict:
    """A scheduler for another length.

    Args:
        moved: new places of those at which warm-ups ended.
    """
    if (unfit := [key for key in UNFIT if key in scheduler]) or (
        scheduler.get("by_epoch", True) != old.by_epoch
    ):
        reason = f"its {unfit[0]}" if unfit else f"it does not count {old.unit}"
        raise UserError(
            f"param_scheduler {scheduler['type']} cannot be fitted to another length ({reason}); "
            "set length and param_scheduler with --cfg-options, or in a config of your own"
        )

    def place(value: float) -> float:
        at = moved[value] if value in moved else value / old.count * new.count
        return at if new.by_epoch else round(at)

    fitted = ConfigDict({**scheduler, "by_epoch": new.by_epoch})
    fitted.update({key: place(scheduler[key]) for key in PLACES if scheduler.get(key) is not None})
    if "milestones" in scheduler:
        fitted.milestones = [place(value) for value in scheduler.milestones]
    places = [fitted[key] for key in PLACES if fitted.get(key) is not None]
    whole = all(float(value).is_integer() for value in (*places, *fitted.get("milestones", ())))
    converts = scheduler.get("convert_to_iter_based", False)
    fitted.pop("convert_to_iter_based", None)
    if not new.by_epoch:
        return fitted
    if converts or not old.by_epoch or not whole:
        fitted.convert_to_iter_based = True
        fitted.setdefault("end", new.count)
        if scheduler["type"] == "MultiStepLR":
            fitted.type = "FractionalMultiStepLR"
    elif whole:
        fitted.update({key: int(fitted[key]) for key in PLACES if fitted.get(key) is not None})
        if "milestones" in fitted:
            fitted.milestones = [int(value) for value in fitted.milestones]
    return fitted


# ---- steps and disk


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


# ---- in words


def describe_steps(cfg: Config, total: int, epoch_length: int) -> str:
    """The course of a training in one line.

    Args:
        total: its steps.
        epoch_length: steps of an epoch.
    """
    epochs = f"{cfg.train_cfg.get('max_epochs')} x {epoch_length}"
    if cfg.train_cfg.get("max_epochs") is None:
        passes = f"{total / epoch_length:.3g}"
        epochs = f"{passes} epoch{'s' * (passes != '1')} of {epoch_length}"
    parts = [f"{total} step{'s' * (total != 1)} ({epochs})"]
    for scheduler in parts_of(cfg.get("param_scheduler")):
        unit = epoch_length if scheduler.get("by_epoch", True) else 1
        if is_warmup(scheduler):
            parts.append(f"warm-up {warmup_end(scheduler, total, epoch_length) or 'none'}")
        elif "milestones" in scheduler:
            places = [round(value * unit) for value in scheduler.milestones]
            factor, at = scheduler.get("gamma", 0.1), " and ".join(map(str, places))
            parts.append(f"rate x {factor:g} at {at}")
        else:
            end = round(scheduler.get("end", total / unit) * unit)
            parts.append(f"{scheduler['type']} to {end}")
    return ", ".join(parts)


def warmup_end(scheduler: Mapping[str, Any], total: int, epoch_length: int) -> int:
    """The step at which a warm-up ends."""
    if scheduler["type"] == "WarmupLR":
        return warmup_steps(scheduler["end"], epoch_length, scheduler.get("steps"))
    unit = epoch_length if scheduler.get("by_epoch", True) else 1
    return int(scheduler.get("end", total / unit) * unit)


def unfinished_warmup(cfg: Config, total: int, epoch_length: int) -> list[str]:
    """What a user should know of a warm-up that is longer than the training."""
    rate = (cfg.optim_wrapper.get("optimizer") or {}).get("lr")
    for scheduler in parts_of(cfg.get("param_scheduler")):
        if not is_warmup(scheduler) or rate is None:
            continue
        end = warmup_end(scheduler, total, epoch_length)
        if end > total:
            start, full = scheduler.get("start_factor", 1 / 3), scheduler.get("end_factor", 1.0)
            last = rate * (start + (full - start) * (total - 1) / (end - 1))
            return [
                f"the warm-up takes {end} steps and the training has {total}: its "
                f"learning rate ends at {last:.2g} and never reaches {rate:g}. --epochs or --iters "
                "fits the warm-up to the length"
            ]
    return []
