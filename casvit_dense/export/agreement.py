"""How well the results of a written file agree with those of torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Largest difference of a map, by the largest number of the map.
MAP_TOLERANCE = 1e-4
#: Share of pixels whose class may differ: scores that are equal but for rounding.
LABEL_TOLERANCE = 1e-3
#: Two detections are one where they differ by less, in score and in pixels by the box's size.
SCORE_TOLERANCE = 1e-3
BOX_TOLERANCE = 1e-3
#: Share of detections without a partner, and share of an object's pixels that may differ.
UNMATCHED_TOLERANCE = 0.02
MASK_TOLERANCE = 0.01


@dataclass(frozen=True)
class Agreement:
    """Outcome of one comparison.

    Attributes:
        good: within the tolerances.
        text: what was compared and the largest difference.
        compared: how many things stood against each other: numbers, pixels or detections.
    """

    good: bool
    text: str
    compared: int


def compare_maps(expected: list[np.ndarray], found: list[np.ndarray]) -> Agreement:
    """Feature maps, number by number."""
    if [x.shape for x in expected] != [x.shape for x in found]:
        shapes = f"{[x.shape for x in found]}, torch gives {[x.shape for x in expected]}"
        return Agreement(False, f"shapes {shapes}", 0)
    worst = max(relative_gap(e, f) for e, f in zip(expected, found, strict=True))
    text = f"{len(expected)} maps, largest difference {worst:.1e} of the largest value"
    return Agreement(worst <= MAP_TOLERANCE, text, sum(x.size for x in expected))


def relative_gap(expected: np.ndarray, found: np.ndarray) -> float:
    """Largest difference by the largest expected number; infinite where a number is none."""
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(expected - found).max() / max(np.abs(expected).max(), 1e-12))


def compare_segments(expected: Any, found: Any) -> Agreement:
    """Two mmseg samples: scores, and the class of each pixel."""
    logits = (sample.seg_logits.data.numpy() for sample in (expected, found))
    gap = relative_gap(*logits)
    classes = [sample.pred_sem_seg.data for sample in (expected, found)]
    other = float((classes[0] != classes[1]).double().mean())
    text = f"scores differ by {gap:.1e} of the largest, {other:.2%} of the pixels in class"
    return Agreement(gap <= MAP_TOLERANCE and other <= LABEL_TOLERANCE, text, classes[0].numel())


def compare_detections(expected: Any, found: Any, score_thr: float, limit: int) -> Agreement:
    """Two mmdet samples: every detection must have its partner.

    Args:
        expected: torch's.
        found: the file's.
        score_thr: score from which detections are reported; at it, rounding decides.
        limit: most detections of an image; where it is reached, rounding decides on the last.
    """
    a, b = expected.pred_instances, found.pred_instances
    pairs = match(a, b)
    lone = [(a, i) for i in range(len(a)) if i not in pairs]
    lone += [(b, i) for i in range(len(b)) if i not in pairs.values()]
    last = max([score_thr, *(float(x.scores.min()) for x in (a, b) if len(x) >= limit)])
    missed = sum(float(x.scores[i]) > last + SCORE_TOLERANCE for x, i in lone)
    score = max((float(abs(a.scores[i] - b.scores[j])) for i, j in pairs.items()), default=0.0)
    box = max((float((a.bboxes[i] - b.bboxes[j]).abs().max()) for i, j in pairs.items()), default=0)
    text = (
        f"{len(a)} detections, {missed} without partner, the others differ by {score:.1e} in score "
        f"and {box:.1e} pixels"
    )
    good = missed <= UNMATCHED_TOLERANCE * max(len(a), len(b))
    if "masks" in a and pairs:
        other = mask_gap(a.masks, b.masks, pairs)
        good = good and other <= MASK_TOLERANCE
        text += f", masks in {other:.2%} of their pixels"
    return Agreement(good, text, len(a))


def match(a: Any, b: Any) -> dict[int, int]:
    """Pairs of equal detections: position in ``a`` to position in ``b``, each used once."""
    pairs: dict[int, int] = {}
    free = set(range(len(b)))
    for i in range(len(a)):
        near = [j for j in free if alike(a, i, b, j)]
        if near:
            pairs[i] = min(near, key=lambda j: float((a.bboxes[i] - b.bboxes[j]).abs().max()))
            free.remove(pairs[i])
    return pairs


def alike(a: Any, i: int, b: Any, j: int) -> bool:
    """Same class, and score and box within the tolerances."""
    if a.labels[i] != b.labels[j] or abs(a.scores[i] - b.scores[j]) > SCORE_TOLERANCE:
        return False
    size = float((a.bboxes[i, 2:] - a.bboxes[i, :2]).max())
    gap = float((a.bboxes[i] - b.bboxes[j]).abs().max())
    return gap <= BOX_TOLERANCE * max(size, 100.0)


def mask_gap(a: Tensor, b: Tensor, pairs: dict[int, int]) -> float:
    """Pixels that differ, by the pixels of all masks."""
    chosen, partners = a[list(pairs)], b[list(pairs.values())]
    return float((chosen ^ partners).sum() / torch.clamp((chosen | partners).sum(), min=1))
