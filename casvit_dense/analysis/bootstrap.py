"""The paired bootstrap over images, and AP for images that count several times.

Images are drawn with replacement, both systems are evaluated on the same draw, and the spread of
the difference over many draws gives its interval (B. Efron, R. Tibshirani: An Introduction to the
Bootstrap, 1993, chapter 13; percentiles). AP and mIoU are recomputed on every draw; they are
not means over images.

hotcoco has such a comparison too, but counts an image that was drawn twice only once, which makes
its intervals about a quarter too narrow, and has no intervals of classes; see docs/analysis.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from casvit_dense.analysis.coco_arrays import Detections, Truth
from casvit_dense.analysis.matching import Matches
from casvit_dense.analysis.records import Change, none_if_nan
from casvit_dense.analysis.sources import LOG_INTERVAL, Log, no_log
from casvit_dense.progress import Progress

#: The value of every class ``(B, K)`` when images count as often as weights ``(B, N)`` say; NaN for
#: none.
ClassValues = Callable[[np.ndarray], np.ndarray]

#: Resamples that are accumulated together; more need more memory and are not faster.
BLOCK = 25

#: Recalls at which COCO reads precision.
RECALLS = np.linspace(0.0, 1.0, 101)


def resample(
    systems: tuple[ClassValues, ClassValues],
    images: int,
    resamples: int,
    seed: int,
    log: Log = no_log,
) -> np.ndarray:
    """Values of both systems on the same draws, ``(2, resamples, K)``."""
    generator = np.random.default_rng(seed)
    parts = []
    starts = range(0, resamples, BLOCK)
    name = f"block of {BLOCK} resamples"
    for start in Progress(name, len(starts), LOG_INTERVAL).track(starts, log):
        drawn = generator.integers(images, size=(min(BLOCK, resamples - start), images))
        weights = np.stack([np.bincount(row, minlength=images) for row in drawn])
        parts.append(np.stack([values(weights) for values in systems]))
    return np.concatenate(parts, axis=1)


def change(name: str, whole: np.ndarray, drawn: np.ndarray) -> Change:
    """The difference of one figure with its 95 % interval.

    Args:
        name: of the figure.
        whole: ``(2,)``, values of A and B on all images.
        drawn: ``(2, R)``, values on the resamples; those without a value do not count.
    """
    first, second = whole
    differences = drawn[1] - drawn[0]
    differences = differences[~np.isnan(differences)]
    ends = np.quantile(differences, (0.025, 0.975)) if len(differences) else np.full(2, np.nan)
    return Change(name, *(none_if_nan(v) for v in (first, second, second - first, *ends)))


def share_better(drawn: np.ndarray) -> float:
    """Share of the resamples ``(2, R)`` in which B is better; equal ones count half."""
    differences = drawn[1] - drawn[0]
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


@dataclass(frozen=True)
class Ranking:
    """Detections of one class by descending score, down to the last correct one, and its objects.

    Attributes:
        image: ``(n,)``, index of the detection's image among N.
        correct, ignored: ``(T, n)``, at each overlap.
        objects: ``(N,)``, objects of the class in each image.
    """

    image: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray


def rankings(truth: Truth, detections: Detections, matches: Sequence[Matches]) -> list[Ranking]:
    """One ranking for each class; ``matches`` has one entry for each overlap."""
    correct = np.stack([m.correct for m in matches])
    ignored = np.stack([~m.counted for m in matches])
    order = np.lexsort((-detections.score, detections.label))  # equal scores: by image
    classes = np.arange(len(truth.classes) + 1)
    bounds = np.searchsorted(detections.label[order], classes)
    objects = np.zeros((len(truth.classes), len(truth.image_ids)), np.int32)
    np.add.at(objects, (truth.label[~truth.crowd], truth.image[~truth.crowd]), 1)
    found = []
    for label in classes[:-1]:
        mine = order[bounds[label] : bounds[label + 1]]
        hits = np.flatnonzero(correct[:, mine].any(axis=0))
        mine = mine[: hits[-1] + 1 if len(hits) else 0]
        found.append(
            Ranking(detections.image[mine], correct[:, mine], ignored[:, mine], objects[label])
        )
    return found


def average_precision(ranking: Ranking, weights: np.ndarray) -> np.ndarray:
    """AP of one class at each overlap when every image counts a given number of times.

    Equal to COCO's on a data set that holds each image so many times, as long as no two detections
    of a class in one image have the same score. Only correct detections can raise precision or
    recall, so only those are evaluated; that makes a thousand resamples affordable.

    Args:
        ranking: of T overlaps and N images.
        weights: ``(B, N)``, B ways to count the images, whole numbers.

    Returns:
        ``(B, T)``, fractions; NaN where no object counts.
    """
    positives = weights @ ranking.objects
    drawn = weights[:, ranking.image]
    passed = np.cumsum(drawn, axis=1)
    values = np.empty((len(weights), len(ranking.correct)))
    for t, (correct, ignored) in enumerate(zip(ranking.correct, ranking.ignored, strict=True)):
        at = np.flatnonzero(correct)
        hits = np.cumsum(drawn[:, at], axis=1)
        seen = passed[:, at] - _ignored_before(np.flatnonzero(ignored), at, drawn)
        precision = hits / (seen + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = hits / np.maximum(positives, 1)[:, None]
        reached = np.searchsorted(RECALLS, recall, side="right")
        steps = np.diff(reached, axis=1, prepend=0)  # recalls that each detection is first to reach
        values[:, t] = (precision * steps).sum(axis=1) / len(RECALLS)
    values[positives == 0] = np.nan
    return values


def _ignored_before(ignored: np.ndarray, at: np.ndarray, drawn: np.ndarray) -> np.ndarray | int:
    """How many ignored detections rank before each position."""
    if not len(ignored):
        return 0
    passed = np.cumsum(drawn[:, ignored], axis=1)
    return np.pad(passed, ((0, 0), (1, 0)))[:, np.searchsorted(ignored, at)]
