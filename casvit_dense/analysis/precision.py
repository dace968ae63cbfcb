"""Average precision from matches, for any number of times that each image counts.

The accumulation is COCO's: detections of a class by falling score, precision made to fall with
recall, read off at 101 recalls. Only correct detections can raise either, so it is enough to look
at those; that makes a thousand resamples of a data set affordable.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from casvit_dense.analysis.columns import Detections, Truth
from casvit_dense.analysis.matching import Matches

#: Where precision is read.
RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Ranking:
    """Detections of one class by falling score, down to the last correct one, and its truth.

    Attributes:
        image: ``(n,)``, position of the detection's image among N.
        correct, ignored: ``(T, n)``, at each threshold.
        truths: ``(N,)``, objects of the class in each image.
    """

    image: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray
    truths: np.ndarray


def rankings(
    truth: Truth, detections: Detections, matches: Matches, area: int = 0
) -> list[Ranking]:
    """One ranking for each class.

    Args:
        truth, detections, matches: the data.
        area: position of the size among those that were matched.
    """
    order = np.lexsort((-detections.score, detections.label))  # equal scores: by image
    classes = np.arange(len(truth.classes) + 1)
    bounds = np.searchsorted(detections.label[order], classes)
    correct, ignored = matches.correct[area], matches.ignored[area]
    counts = np.zeros((len(truth.classes), len(truth.image_ids)), np.int32)
    counted = ~matches.outside[area]
    np.add.at(counts, (truth.label[counted], truth.image[counted]), 1)
    found = []
    for label in classes[:-1]:
        mine = order[bounds[label] : bounds[label + 1]]
        hits = np.flatnonzero(correct[:, mine].any(axis=0))
        mine = mine[: hits[-1] + 1 if len(hits) else 0]
        found.append(
            Ranking(detections.image[mine], correct[:, mine], ignored[:, mine], counts[label])
        )
    return found


def average_precision(ranking: Ranking, weights: np.ndarray) -> np.ndarray:
    """AP of one class at each threshold when every image counts a given number of times.

    Equal to COCO's on a data set that holds each image so many times, as long as no two detections
    of an image and class have one score.

    Args:
        ranking: of T thresholds and N images.
        weights: ``(B, N)``, B ways to count the images, whole numbers.

    Returns:
        ``(B, T)``, fractions; NaN where no object counts.
    """
    positives = weights @ ranking.truths
    drawn = weights[:, ranking.image]
    passed = np.cumsum(drawn, axis=1)
    values = np.empty((len(weights), len(ranking.correct)))
    for t in range(len(ranking.correct)):
        precision, steps = _steps(ranking, t, drawn, passed, positives)
        values[:, t] = (precision * steps).sum(axis=1) / len(RECALLS)
    values[positives == 0] = np.nan
    return values


def precision_curve(ranking: Ranking) -> np.ndarray:
    """Precision ``(T, 101)`` at `RECALLS`, 0 beyond the last; NaN if the class has no object."""
    drawn = np.ones((1, len(ranking.image)), np.int32)
    positives = ranking.truths.sum(keepdims=True)
    curve = np.zeros((len(ranking.correct), len(RECALLS)))
    if not positives[0]:
        return np.full_like(curve, np.nan)
    passed = np.cumsum(drawn, axis=1)
    for t, row in enumerate(curve):
        precision, steps = _steps(ranking, t, drawn, passed, positives)
        row[: steps.sum()] = np.repeat(precision[0], steps[0])
    return curve


def _steps(
    ranking: Ranking, t: int, drawn: np.ndarray, passed: np.ndarray, positives: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The precision-recall curve as steps, one for each of n correct detections.

    Returns:
        Highest precision from here on ``(B, n)``, and how many of `RECALLS` the step is the first
        to reach ``(B, n)``.
    """
    at = np.flatnonzero(ranking.correct[t])
    hits = np.cumsum(drawn[:, at], axis=1)
    seen = passed[:, at] - _ignored_before(np.flatnonzero(ranking.ignored[t]), at, drawn)
    precision = hits / (seen + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hits / np.maximum(positives, 1)[:, None]
    reached = np.searchsorted(RECALLS, recall, side="right")
    return precision, np.diff(reached, axis=1, prepend=0)


def _ignored_before(ignored: np.ndarray, at: np.ndarray, drawn: np.ndarray) -> np.ndarray | int:
    """How many ignored detections rank before each position."""
    if not len(ignored):
        return 0
    passed = np.cumsum(drawn[:, ignored], axis=1)
    return np.pad(passed, ((0, 0), (1, 0)))[:, np.searchsorted(ignored, at)]


def mean_over_classes(values: Sequence[float] | np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of the classes that have a value; NaN if none has."""
    array = np.asarray(values, float)
    known = ~np.isnan(array)
    count = known.sum(axis=axis)
    total = np.where(known, array, 0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
