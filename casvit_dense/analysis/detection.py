"""The analysis of boxes or masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from casvit_dense.analysis.columns import Detections, Truth
from casvit_dense.analysis.error_kinds import (
    FOREGROUND,
    KINDS,
    WRONG,
    fault_counts,
    find_faults,
    gains,
)
from casvit_dense.analysis.matching import AREAS, THRESHOLDS, Matches, Pairs, match, overlapping
from casvit_dense.analysis.precision import mean_over_classes, precision_curve, rankings
from casvit_dense.analysis.progress import Tick, silent
from casvit_dense.analysis.records import (
    Calibration,
    ClassPrecision,
    Confusion,
    Curve,
    DetectionAnalysis,
    Fault,
    ImageScore,
    OperatingPoint,
    SizePrecision,
    number,
    numbers,
)

BINS = 10

#: Images listed as the best and as the worst.
LISTED = 20

#: Overlaps of the curves: name and positions in `THRESHOLDS`.
CURVES = {"0.50": [0], "0.75": [5], "0.50:0.95": list(range(len(THRESHOLDS)))}


@dataclass(frozen=True)
class Outcome:
    """What became of D detections and G objects at overlap `FOREGROUND`.

    Attributes:
        found: ``(D,)``, position of the object that a correct detection found, else -1.
        wrong: ``(D,)``; what is neither found nor wrong is ignored.
        counted: ``(G,)``, objects; crowds do not count.
    """

    found: np.ndarray
    wrong: np.ndarray
    counted: np.ndarray

    @classmethod
    def of(cls, matches: Matches) -> "Outcome":
        """From matches of all sizes at `THRESHOLDS`."""
        ignored = matches.ignored[0, 0]
        found = np.where(ignored, -1, matches.truth[0, 0])
        return cls(found, (found < 0) & ~ignored, ~matches.outside[0])


def analyse_detections(
    truth: Truth,
    detections: Detections,
    kind: str,
    score_thr: float | None = None,
    tick: Tick = silent,
) -> DetectionAnalysis:
    """Everything that `DetectionAnalysis` holds.

    Args:
        truth, detections: the data.
        kind: ``'bbox' | 'segm'``.
        score_thr: least score of the operating point; that of the best F1 by default.
        tick: told of the progress.
    """
    pairs = overlapping(truth, detections, tick)
    matches = match(truth, detections, pairs, areas=tuple(AREAS))
    outcome = Outcome.of(matches)
    curves = class_curves(truth, detections, matches)
    point = operating_point(detections, outcome, score_thr)
    images = image_scores(truth, detections, outcome, point.score)
    return DetectionAnalysis(
        kind=kind,
        images=len(truth.image_ids),
        objects=int(outcome.counted.sum()),
        detections=len(detections.score),
        sizes=_by_size(truth, matches, curves),
        classes=_by_class(truth, matches, curves),
        faults=_faults(truth, detections, pairs, matches),
        curves=[_curve(name, truth.classes, curves[0, at].mean(0)) for name, at in CURVES.items()],
        operating_point=point,
        confusion=confusion(truth, detections, pairs, outcome, point.score),
        calibration=calibration(detections.score, outcome),
        best=ranked([i for i in images if i.correct or i.missed], best=True),
        worst=ranked([i for i in images if i.correct or i.missed or i.wrong], best=False),
    )


def class_curves(truth: Truth, detections: Detections, matches: Matches) -> np.ndarray:
    """Precision at 101 recalls, ``(A, T, 101, K)``; NaN for a class without objects."""
    return np.stack(
        [
            np.stack([precision_curve(r) for r in rankings(truth, detections, matches, a)], axis=-1)
            for a in range(len(matches.truth))
        ]
    )


def _by_size(truth: Truth, matches: Matches, curves: np.ndarray) -> list[SizePrecision]:
    ap = mean_over_classes(curves.mean(axis=2))  # (A, T)
    return [
        SizePrecision(
            size,
            int((~matches.outside[a]).sum()),
            *numbers((ap[a].mean(), ap[a, 0], ap[a, 5])),
        )
        for a, size in enumerate(AREAS)
    ]


def _by_class(truth: Truth, matches: Matches, curves: np.ndarray) -> list[ClassPrecision]:
    ap = curves.mean(axis=2)  # (A, T, K)
    objects = np.bincount(truth.label[~matches.outside[0]], minlength=len(truth.classes))
    return [
        ClassPrecision(
            name,
            int(objects[k]),
            *numbers((ap[0, :, k].mean(), ap[0, 0, k], ap[0, 5, k], *ap[1:, :, k].mean(axis=1))),
        )
        for k, name in enumerate(truth.classes)
    ]


def _curve(name: str, classes: Sequence[str], precision: np.ndarray) -> Curve:
    by_class = {
        c: precision[:, k].round(4).tolist()
        for k, c in enumerate(classes)
        if not np.isnan(precision[0, k])
    }
    mean = np.nan_to_num(mean_over_classes(precision))  # without any object: 0
    return Curve(name, mean.round(4).tolist(), by_class)


def _faults(truth: Truth, detections: Detections, pairs: Pairs, matches: Matches) -> list[Fault]:
    faults = find_faults(truth, detections, pairs, matches.truth[0, 0], matches.ignored[0, 0])
    gain = gains(truth, detections, faults)
    counts = dict(zip(KINDS, fault_counts(truth, detections, faults), strict=True))
    counts["false positive"] = np.sum([counts[kind] for kind in WRONG], axis=0)
    unfound = truth.label[~truth.crowd & ~faults.found]
    counts["false negative"] = np.bincount(unfound, minlength=len(truth.classes))
    return [
        Fault(kind, int(count.sum()), number(gain[kind]), count.tolist())
        for kind, count in counts.items()
    ]


def operating_point(
    detections: Detections, outcome: Outcome, score_thr: float | None = None
) -> OperatingPoint:
    """The score from which on F1 over all classes is best, or a given one."""
    kept = np.flatnonzero((outcome.found >= 0) | outcome.wrong)
    kept = kept[np.argsort(-detections.score[kept], kind="stable")]
    score = detections.score[kept]
    correct = np.cumsum(outcome.found[kept] >= 0)
    objects = int(outcome.counted.sum())
    f1 = 2 * correct / np.maximum(np.arange(1, len(kept) + 1) + objects, 1)
    if score_thr is None:
        last_of_equal = np.append(np.diff(score) != 0, True)[: len(score)]
        at = int(np.argmax(np.where(last_of_equal, f1, -1))) if len(score) else -1
        used = float(score[at]) if len(score) else 0.0
    else:
        used, at = score_thr, int(np.searchsorted(-score, -score_thr, side="right")) - 1
    hits = int(correct[at]) if at >= 0 else 0
    return OperatingPoint(
        score=used,
        chosen="best F1" if score_thr is None else "given",
        precision=hits / (at + 1) if at >= 0 else 0.0,
        recall=hits / objects if objects else 0.0,
        f1=float(f1[at]) if at >= 0 else 0.0,
    )


def confusion(
    truth: Truth, detections: Detections, pairs: Pairs, outcome: Outcome, score_thr: float
) -> Confusion:
    """Objects against detections from a score on.

    COCO's matches come first: the diagonal holds the correct detections. Of what is left, the
    detection of highest score takes the object that it overlaps most, by `FOREGROUND` at least.
    """
    kept = detections.score >= score_thr
    found = np.where(kept, outcome.found, -1)
    left = kept & outcome.wrong
    free = outcome.counted.copy()
    free[found[found >= 0]] = False
    rest = pairs.where(left[pairs.detection] & free[pairs.truth] & (pairs.overlap >= FOREGROUND))
    order = np.lexsort((-rest.overlap, rest.detection, -detections.score[rest.detection]))
    for d, g in zip(rest.detection[order], rest.truth[order], strict=True):
        if free[g] and found[d] < 0:
            found[d], free[g] = g, False
    background = len(truth.classes)
    counts = np.zeros((background + 1, background + 1), int)
    taken = np.flatnonzero(found >= 0)
    np.add.at(counts, (truth.label[found[taken]], detections.label[taken]), 1)
    np.add.at(counts, (background, detections.label[left & (found < 0)]), 1)
    np.add.at(counts, (truth.label[free], background), 1)
    return Confusion([*truth.classes, "background"], counts.tolist())


def calibration(score: np.ndarray, outcome: Outcome, bins: int = BINS) -> Calibration:
    """Precision of detections of similar score, in bins of equal width from 0 to 1."""
    counted = (outcome.found >= 0) | outcome.wrong
    score, correct = score[counted], outcome.found[counted] >= 0
    place = np.clip((score * bins).astype(int), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    known = np.where(counts, counts, np.nan)
    mean = np.bincount(place, score, minlength=bins) / known
    precision = np.bincount(place, correct, minlength=bins) / known
    error = np.nansum(np.abs(mean - precision) * counts) / len(score) if len(score) else np.nan
    edges = np.linspace(0, 1, bins + 1).round(6).tolist()
    return Calibration(edges, counts.tolist(), numbers(mean), numbers(precision), number(error))


def image_scores(
    truth: Truth, detections: Detections, outcome: Outcome, score_thr: float
) -> list[ImageScore]:
    """F1 of every image; 1 where there is nothing to find and nothing was found."""
    kept = detections.score >= score_thr
    images = len(truth.image_ids)
    correct = np.bincount(detections.image[kept & (outcome.found >= 0)], minlength=images)
    wrong = np.bincount(detections.image[kept & outcome.wrong], minlength=images)
    missed = np.bincount(truth.image[outcome.counted], minlength=images) - correct
    total = 2 * correct + wrong + missed
    score = np.where(total > 0, 2 * correct / np.maximum(total, 1), 1.0)
    columns = (truth.image_ids, score, correct, wrong, missed)
    return [
        ImageScore(number, file, *rest)
        for file, (number, *rest) in zip(
            truth.file_names, zip(*(c.tolist() for c in columns), strict=True), strict=True
        )
    ]


def ranked(images: Sequence[ImageScore], best: bool) -> list[ImageScore]:
    """The `LISTED` best or worst; of equal scores those with more that is right or wrong."""

    def order(image: ImageScore) -> tuple[float, int]:
        if best:
            return -image.score, -(image.correct or 0)
        return image.score, -((image.wrong or 0) + (image.missed or 0))

    return sorted(images, key=order)[:LISTED]
