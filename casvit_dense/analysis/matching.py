"""Which detection found which object: overlaps, and COCO's greedy assignment for all at once.

Rules after pycocotools' ``COCOeval.evaluateImg``, which assigns image by image and class by class.
Here the detections of one rank in all images and classes are assigned in one step, at every
overlap threshold and object size, since they do not compete with each other.
"""

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as rle

from casvit_dense.analysis.columns import Detections, Truth
from casvit_dense.analysis.progress import Tick, silent

#: Overlaps (intersection over union) from which a detection counts as correct.
THRESHOLDS = np.linspace(0.5, 0.95, 10)

#: COCO's sizes: least and largest area in pixels.
AREAS = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}

#: An overlap below this is none: TIDE's boundary of the background.
BACKGROUND = 0.1


@dataclass(frozen=True)
class Pairs:
    """The P pairs of a detection and an object in one image that overlap by `BACKGROUND` or more.

    Attributes:
        detection, truth: ``(P,)``, positions, ascending.
        overlap: ``(P,)``, intersection over union; over the detection's area for crowds.
    """

    detection: np.ndarray
    truth: np.ndarray
    overlap: np.ndarray

    def where(self, chosen: np.ndarray) -> "Pairs":
        """Those that a mask ``(P,)`` chooses."""
        return Pairs(self.detection[chosen], self.truth[chosen], self.overlap[chosen])


@dataclass(frozen=True)
class Matches:
    """What became of D detections, for A sizes and T thresholds.

    Attributes:
        truth: ``(A, T, D)``, position of the object that was found, -1 for none.
        ignored: ``(A, T, D)``, counts neither as correct nor as wrong: found a crowd, or an object
            of another size, or found nothing and is itself of another size.
        outside: ``(A, G)``, objects that do not count: crowds and those of another size.
    """

    truth: np.ndarray
    ignored: np.ndarray
    outside: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """``(A, T, D)``: found an object that counts."""
        return (self.truth >= 0) & ~self.ignored


def overlapping(truth: Truth, detections: Detections, tick: Tick = silent) -> Pairs:
    """All pairs that overlap, of whatever classes; ``tick`` is told of the progress."""
    images = np.arange(len(truth.image_ids) + 1)
    first_truth = np.searchsorted(truth.image, images)
    first_found = np.searchsorted(detections.image, images)
    parts: list[tuple[np.ndarray, ...]] = []
    shared = np.intersect1d(truth.image, detections.image)
    for done, i in enumerate(shared, 1):
        objects = slice(first_truth[i], first_truth[i + 1])
        found = slice(first_found[i], first_found[i + 1])
        overlap = rle.iou(
            detections.outlines[found], truth.outlines[objects], truth.crowd[objects].tolist()
        )
        rows, columns = np.nonzero(overlap >= BACKGROUND)
        parts.append((rows + found.start, columns + objects.start, overlap[rows, columns]))
        tick("image", done, len(shared))
    if not parts:
        return Pairs(np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def match(
    truth: Truth,
    detections: Detections,
    pairs: Pairs,
    thresholds: np.ndarray = THRESHOLDS,
    areas: tuple[str, ...] = ("all",),
) -> Matches:
    """Assigns detections to objects of their class, the highest score first.

    Args:
        truth, detections, pairs: the data.
        thresholds: ``(T,)``.
        areas: A names of `AREAS`.
    """
    ranges = np.array([AREAS[name] for name in areas])
    outside = truth.crowd | _outside(truth.area, ranges)
    same = truth.label[pairs.truth] == detections.label[pairs.detection]
    candidates = pairs.where(same & (pairs.overlap >= thresholds.min()))
    shape = len(areas), len(thresholds), len(detections.score)
    matched = np.full(shape, -1, np.int32)
    taken = np.zeros((*shape[:2], len(truth.area)), bool)
    for block in _by_rank(candidates, detections):
        _assign(block, truth.crowd, outside, thresholds, matched, taken)
    outside_or_not = np.append(outside, np.zeros((len(areas), 1), bool), axis=1)  # -1: no object
    ignored = np.take_along_axis(outside_or_not[:, None, :], matched, axis=2)
    ignored |= (matched < 0) & _outside(detections.area, ranges)[:, None, :]
    return Matches(matched, ignored, outside)


def _outside(area: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    return (area < ranges[:, :1]) | (area > ranges[:, 1:])


def _by_rank(pairs: Pairs, detections: Detections) -> list[Pairs]:
    """Pairs of the first detection of every image and class, then of the second, and so on.

    Each is ordered by detection, then overlap, then position of the object.
    """
    found = np.unique(pairs.detection)
    group = np.stack([detections.image[found], detections.label[found]])
    new = np.append(True, np.diff(group, axis=1).any(axis=0))[: len(found)]
    starts = np.flatnonzero(new)
    rank = np.arange(len(found)) - np.repeat(starts, np.diff(np.append(starts, len(found))))
    pair_rank = rank[np.searchsorted(found, pairs.detection)]
    order = np.lexsort((pairs.truth, pairs.overlap, pairs.detection, pair_rank))
    ends = np.cumsum(np.bincount(pair_rank))[:-1]
    return [pairs.where(part) for part in np.split(order, ends) if len(part)]


def _assign(
    block: Pairs,
    crowd: np.ndarray,
    outside: np.ndarray,
    thresholds: np.ndarray,
    matched: np.ndarray,
    taken: np.ndarray,
) -> None:
    """Assigns detections that do not compete; writes into ``matched`` and ``taken``.

    The best free object that counts, else the best that does not; of equal overlaps the last.
    """
    count = len(block.truth)
    free = ~taken[:, :, block.truth] | crowd[block.truth]
    enough = block.overlap >= thresholds[:, None]
    preference = np.arange(count) + count * ~outside[:, None, block.truth]
    preference = np.where(free & enough, preference, -1)
    starts = np.flatnonzero(np.diff(block.detection, prepend=-1))
    best = np.maximum.reduceat(preference, starts, axis=2)
    area, threshold, number = np.nonzero(best >= 0)
    chosen = block.truth[best[area, threshold, number] % count]
    matched[area, threshold, block.detection[starts][number]] = chosen
    taken[area, threshold, chosen] = True
