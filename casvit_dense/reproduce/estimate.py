"""How long a plan takes, how much disk space it needs, and where these figures are from."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mmengine.config import Config

from casvit_dense.config.schedule import Schedule
from casvit_dense.config.tree import dicts_in
from casvit_dense.evaluations import LOGS
from casvit_dense.files import json_lines
from casvit_dense.reproduce.recipe import Known
from casvit_dense.results.lines import Row
from casvit_dense.results.measurements import Speed
from casvit_dense.results.row import FULL_PRECISION, Evaluation


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
