"""How long a plan takes, how much disk space it needs, and where these figures are from."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mmengine.config import Config

from casvit_dense.engine.config_tree import dicts_in
from casvit_dense.evaluations import LOGS
from casvit_dense.files import json_lines
from casvit_dense.reproduce.recipe import Known
from casvit_dense.results.row import FULL_PRECISION, Evaluation, Row, Speed

#: Floats that an optimiser keeps for each trained parameter.
MOMENTS = {"AdamW": 2, "Adam": 2}

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
        whole = weights + trained * moments * FLOAT_BYTES
        return whole * min(written, self.kept or written) + weights * self.best


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
    return MOMENTS.get(optimizer.type, 2)


def step_time(
    stem: str,
    cfg: Config,
    given: Mapping[str, float],
    folders: Iterable[Path],
    rows: Sequence[Row],
) -> Known | None:
    """Seconds of a training step: given, logged by runs of the same config, or measured.

    ``given`` is by stem; ``folders`` are work directories of runs of this config.
    """
    if stem in given:
        return Known(given[stem], "given")
    for folder in folders:
        times = logged_times(folder)
        if times:
            return Known(median(times), f"log in {folder}")
    return benchmarked(stem, cfg, rows)


def logged_times(folder: Path) -> list[float]:
    """Seconds of a step in the newest training log of a work directory that has any.

    Each number is mmengine's mean of some steps. The first ones of a run, in which caches and
    workers start, are left out where there are others.
    """
    for log in sorted(folder.glob(LOGS), reverse=True):
        times = [line["time"] for line in json_lines(log) if "lr" in line and "time" in line]
        if times:
            return times[1:] or times
    return []


def benchmarked(stem: str, cfg: Config, rows: Sequence[Row]) -> Known | None:
    """Seconds of a step from the newest measured one, by its images and pixels."""
    for row in reversed(rows):
        if (
            isinstance(row, Speed)
            and (row.model, row.part, row.mode) == (stem, "model", "train")
            and (row.form, row.precision) == ("reference", FULL_PRECISION)
            and row.median_ms is not None
        ):
            batch = cfg.train_dataloader.batch_size
            pixels, (height, width) = training_pixels(cfg), map(int, row.size.split("x"))
            factor = batch / row.batch * (pixels / (height * width) if pixels else 1.0)
            source = f"{row.median_ms:.0f} ms for {row.batch} images of {row.size}, {row.device}"
            return Known(row.median_ms / 1e3 * factor, source)
    return None


def training_pixels(cfg: Config) -> int | None:
    """Most pixels of a training image: of the last step of the pipeline that sets a size."""
    sizes = [
        step.get("crop_size") or step.get("scale")
        for step in dicts_in(cfg.train_dataloader.dataset)
        if step.get("crop_size") or (step.get("scale") and "Resize" in str(step.get("type")))
    ]
    last = sizes[-1] if sizes else None
    return math.prod(last) if isinstance(last, (tuple, list)) and len(last) == 2 else None


def evaluation_time(stem: str, rows: Sequence[Row]) -> Known | None:
    """Seconds of one evaluation: of the newest row of this config."""
    for row in reversed(rows):
        if isinstance(row, Evaluation) and row.config == stem and row.duration_s is not None:
            return Known(row.duration_s, f"row of {row.date:%Y-%m-%d}, {row.device}")
    return None


@dataclass(frozen=True)
class Estimate:
    """What is left of a run.

    Attributes:
        steps: training steps that are left; None: unknown without the data.
        images: training images, where the steps depend on them.
        step: seconds of one, if known.
        test: seconds of one evaluation, if known.
        tests: evaluations that are left, those during training included.
        gpus: processes.
        disk: bytes of its checkpoints at the end.
    """

    steps: int | None
    images: Known | None
    step: Known | None
    test: Known | None
    tests: int
    gpus: int
    disk: int

    @property
    def seconds(self) -> float | None:
        """Time that is left, without evaluations where none was measured; None if unknown."""
        if self.steps == 0:
            training = 0.0
        elif self.steps is None or self.step is None:
            return None
        else:
            training = self.steps * self.step.value
        return training + self.tests * (self.test.value if self.test else 0.0)

    @property
    def gpu_hours(self) -> float | None:
        return None if self.seconds is None else self.seconds * self.gpus / 3600


def evaluations_left(
    schedule: Schedule, steps: int | None, left: int | None, todo: Sequence[str]
) -> int:
    """Evaluations that are left: of the training that is left, and the one that counts."""
    if not todo:
        return 0
    if "train" not in todo:
        return 1
    share = left / steps if steps and left is not None else 1.0
    return math.ceil(schedule.validations * share) + 1
