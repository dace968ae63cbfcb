"""Why detections are wrong and what each reason costs, after TIDE.

D. Bolya, S. Foley, J. Hays, J. Hoffman: TIDE: A General Toolbox for Identifying Object Detection
Errors, ECCV 2020, https://arxiv.org/abs/2008.08115. Where the paper leaves a choice (a detection
to which several kinds apply), it is made as in its published tool, https://github.com/dbolya/tide.
Matching, crowds and AP are COCO's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from casvit_dense.analysis.columns import Detections, Truth
from casvit_dense.analysis.matching import BACKGROUND, Pairs
from casvit_dense.analysis.precision import Ranking, average_precision, mean_over_classes

#: From this overlap on, an object is found.
FOREGROUND = 0.5

#: Kinds of wrong detections, in the order in which they are numbered.
WRONG = ("classification", "localisation", "both", "duplicate", "background")
CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, NOTHING = range(5)

#: All kinds; ``missed`` are objects.
KINDS = (*WRONG, "missed")


@dataclass(frozen=True)
class Faults:
    """The faults of D detections of G objects.

    Attributes:
        kind: ``(D,)``, position in `WRONG`; -1 for correct and ignored detections.
        mended: ``(D,)``, position of the object that a detection of wrong class or place would
            find if that were put right; -1 if none, or if a detection of higher score would.
        missed: ``(G,)``, objects that no detection found or would find, put right.
        correct: ``(D,)``.
        found: ``(G,)``.
    """

    kind: np.ndarray
    mended: np.ndarray
    missed: np.ndarray
    correct: np.ndarray
    found: np.ndarray


def find_faults(
    truth: Truth, detections: Detections, pairs: Pairs, matched: np.ndarray, ignored: np.ndarray
) -> Faults:
    """Sorts wrong detections into kinds.

    A detection that found nothing is, by the first that applies: in the wrong place (overlaps an
    object of its class best by `BACKGROUND` to `FOREGROUND`), of the wrong class (overlaps an
    object of another class by `FOREGROUND`), a duplicate, background (overlaps no object by
    `BACKGROUND`), or both in the wrong place and of the wrong class.

    Args:
        truth, detections, pairs: the data.
        matched: ``(D,)``, object that was found at `FOREGROUND`, -1 for none.
        ignored: ``(D,)``.
    """
    count = len(detections.score)
    found = np.zeros(len(truth.area), bool)
    found[matched[(matched >= 0) & ~ignored]] = True
    wrong = (matched < 0) & ~ignored
    pairs = pairs.where(wrong[pairs.detection] & ~truth.crowd[pairs.truth])
    same = truth.label[pairs.truth] == detections.label[pairs.detection]
    own, own_truth = _best(pairs.where(same), count)
    other, other_truth = _best(pairs.where(~same), count)

    displaced = (own >= BACKGROUND) & (own < FOREGROUND)
    kind = np.select(
        [~wrong, displaced, other >= FOREGROUND, own >= FOREGROUND, other < BACKGROUND],
        [-1, LOCALISATION, CLASSIFICATION, DUPLICATE, NOTHING],
        BOTH,
    )
    target = np.select([kind == LOCALISATION, kind == CLASSIFICATION], [own_truth, other_truth], -1)
    target[found[target] & (target >= 0)] = -1
    missed = ~truth.crowd & ~found
    missed[target[target >= 0]] = False
    return Faults(
        kind=kind,
        mended=_first_of_each(target, detections.score),
        missed=missed,
        correct=(matched >= 0) & ~ignored,
        found=found,
    )


def _best(pairs: Pairs, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest overlap of each detection and its object, the first of equals; 0 and -1 if none."""
    order = np.lexsort((-pairs.truth, pairs.overlap))  # of several, the last is kept
    overlap, truth = np.zeros(count), np.full(count, -1)
    overlap[pairs.detection[order]] = pairs.overlap[order]
    truth[pairs.detection[order]] = pairs.truth[order]
    return overlap, truth


def _first_of_each(target: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Keeps each object for the detection of highest score."""
    aimed = np.flatnonzero(target >= 0)
    aimed = aimed[np.argsort(-score[aimed], kind="stable")]
    _, first = np.unique(target[aimed], return_index=True)
    kept = np.full_like(target, -1)
    kept[aimed[first]] = target[aimed[first]]
    return kept


def fault_counts(truth: Truth, detections: Detections, faults: Faults) -> np.ndarray:
    """How often each kind occurs in each class, ``(len(KINDS), K)``; missed by the object's."""
    classes = len(truth.classes)
    rows = [np.bincount(detections.label[faults.kind == k], minlength=classes) for k in range(5)]
    return np.stack([*rows, np.bincount(truth.label[faults.missed], minlength=classes)])


def gains(truth: Truth, detections: Detections, faults: Faults) -> Mapping[str, float]:
    """What AP at `FOREGROUND` would gain if one kind of fault were put right and no other.

    Wrong class or place: put right for the object's detection of highest score, taken away for the
    others. Both, duplicate, background: taken away. Missed: the object does not count; a class of
    which no object is left keeps AP 0, so that the mean goes over the same classes.

    Returns:
        By each of `KINDS`, ``false positive`` (no wrong detection) and ``false negative`` (no
        object counts that was not found): differences of fractions; NaN without truth.
    """
    counted = ~truth.crowd
    base = _ap(truth, detections, faults.correct, faults.kind >= 0, counted)
    values = {}
    for number, name in enumerate(WRONG):
        chosen = faults.kind == number
        mended = chosen & (faults.mended >= 0)
        label = np.where(mended, truth.label[faults.mended], detections.label)
        values[name] = _ap(
            truth, detections, faults.correct | mended, (faults.kind >= 0) & ~chosen, counted, label
        )
    none = np.zeros_like(faults.correct)
    values["missed"] = _ap(
        truth, detections, faults.correct, faults.kind >= 0, counted & ~faults.missed
    )
    values["false positive"] = _ap(truth, detections, faults.correct, none, counted)
    values["false negative"] = _ap(
        truth, detections, faults.correct, faults.kind >= 0, counted & faults.found
    )
    return {name: value - base for name, value in values.items()}


def _ap(
    truth: Truth,
    detections: Detections,
    correct: np.ndarray,
    wrong: np.ndarray,
    counted: np.ndarray,
    label: np.ndarray | None = None,
) -> float:
    """AP at one threshold of the detections that are correct or wrong."""
    label = detections.label if label is None else label
    kept = np.flatnonzero(correct | wrong)
    kept = kept[np.lexsort((-detections.score[kept], label[kept]))]
    bounds = np.searchsorted(label[kept], np.arange(len(truth.classes) + 1))
    known = np.unique(truth.label[~truth.crowd])
    truths = np.bincount(truth.label[counted], minlength=len(truth.classes))
    values = []
    for i in known:
        hits = correct[None, kept[bounds[i] : bounds[i + 1]]]
        once = np.zeros(hits.shape[1], int)  # as if of one image
        ranking = Ranking(once, hits, np.zeros_like(hits), truths[i : i + 1])
        values.append(average_precision(ranking, np.ones((1, 1), int)).item())
    return float(mean_over_classes(np.nan_to_num(values)))
