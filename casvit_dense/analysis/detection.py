"""The analysis of boxes or masks.

Matches, AP, curves and kinds of error are hotcoco's. Computed here, from its matches, are figures
that it defines otherwise: one operating point over all classes, a confusion matrix whose diagonal
holds COCO's correct detections, and scores of images at that point.
"""

from collections.abc import Sequence

import hotcoco
import numpy as np
from pycocotools import mask as rle

from casvit_dense.analysis.coco_arrays import Detections, Truth
from casvit_dense.analysis.matching import (
    FOREGROUND,
    THRESHOLDS,
    Matches,
    evaluate,
    matches_of,
    mean_over_classes,
    precision_curves,
)
from casvit_dense.analysis.records import (
    Calibration,
    ClassPrecision,
    Confusion,
    Curve,
    DetectionAnalysis,
    ErrorKind,
    ImageScore,
    OperatingPoint,
    SizePrecision,
    none_if_nan,
)

#: COCO's sizes: smallest and largest area in pixels.
AREAS = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}

#: TIDE's kinds of error and hotcoco's names of them.
ERROR_KINDS = {
    "classification": "Cls",
    "localisation": "Loc",
    "both": "Both",
    "duplicate": "Dupe",
    "background": "Bkg",
    "missed": "Miss",
}

#: Bins of the calibration.
BINS = 10

#: Images listed as the best and as the worst.
LISTED = 20

#: Overlaps of the curves: name and positions in `THRESHOLDS`.
CURVES = {"0.50": [0], "0.75": [5], "0.50:0.95": list(range(len(THRESHOLDS)))}


def analyse_detections(
    truth: Truth, detections: Detections, kind: str, score_thr: float | None = None
) -> DetectionAnalysis:
    """Everything that `DetectionAnalysis` holds."""
    evaluation = evaluate(truth, detections, kind)
    matches = matches_of(evaluation, detections)
    curves = precision_curves(evaluation)
    point = operating_point(truth, detections, matches, score_thr)
    images = image_scores(truth, detections, matches, point.score)
    return DetectionAnalysis(
        kind=kind,
        images=len(truth.image_ids),
        objects=int((~truth.crowd).sum()),
        detections=len(detections.score),
        sizes=_by_size(truth, curves),
        classes=_by_class(truth, detections, matches, curves),
        error_kinds=_error_kinds(truth, detections, kind, evaluation, matches),
        curves=[_curve(name, truth.classes, curves[0, at].mean(0)) for name, at in CURVES.items()],
        operating_point=point,
        confusion=confusion(truth, detections, matches, point.score),
        calibration=calibration(detections.score, matches),
        best=ranked([i for i in images if i.correct or i.missed], best=True),
        worst=ranked([i for i in images if i.correct or i.missed or i.wrong], best=False),
    )


def _by_size(truth: Truth, curves: np.ndarray) -> list[SizePrecision]:
    ap = mean_over_classes(curves.mean(axis=2))  # (4, 10)
    return [
        SizePrecision(
            size,
            int(((truth.area >= low) & (truth.area <= high) & ~truth.crowd).sum()),
            *map(none_if_nan, (ap[a].mean(), ap[a, 0], ap[a, 5])),
        )
        for a, (size, (low, high)) in enumerate(AREAS.items())
    ]


def _by_class(
    truth: Truth, detections: Detections, matches: Matches, curves: np.ndarray
) -> list[ClassPrecision]:
    ap = curves.mean(axis=2)  # (4, 10, K)
    classes = len(truth.classes)
    objects = np.bincount(truth.label[~truth.crowd], minlength=classes)
    correct = np.bincount(detections.label[matches.correct], minlength=classes)
    wrong = np.bincount(detections.label[matches.wrong], minlength=classes)
    return [
        ClassPrecision(
            name,
            int(objects[k]),
            int(wrong[k]),
            int(objects[k] - correct[k]),
            *map(
                none_if_nan,
                (ap[0, :, k].mean(), ap[0, 0, k], ap[0, 5, k], *ap[1:, :, k].mean(axis=1)),
            ),
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


def _error_kinds(
    truth: Truth,
    detections: Detections,
    kind: str,
    evaluation: hotcoco.COCOeval,
    matches: Matches,
) -> list[ErrorKind]:
    """TIDE's kinds of error at overlap .50, background below .10.

    hotcoco takes crowds for objects here, which TIDE's own tool does not. So crowds and the
    detections that lie in them are taken away first; this leaves all other matches as they are.
    """
    if truth.crowd.any():
        evaluation = evaluate(truth.without_crowds(), detections.where(matches.counted), kind)
    errors = evaluation.tide_errors(pos_thr=FOREGROUND, bg_thr=0.1)
    gains, objects = errors["delta_ap"], int((~truth.crowd).sum())
    counts = {name: errors["counts"][theirs] for name, theirs in ERROR_KINDS.items()}
    counts["false positive"] = int(matches.wrong.sum())
    counts["false negative"] = objects - int(matches.correct.sum())
    names = {**ERROR_KINDS, "false positive": "FP", "false negative": "FN"}
    return [
        ErrorKind(name, count, float(gains[names[name]]) if objects else None)
        for name, count in counts.items()
    ]


def operating_point(
    truth: Truth, detections: Detections, matches: Matches, score_thr: float | None = None
) -> OperatingPoint:
    """The score from which on F1 over all classes is best, or a given one."""
    kept = np.flatnonzero(matches.counted)
    kept = kept[np.argsort(-detections.score[kept], kind="stable")]
    score = detections.score[kept]
    correct = np.cumsum(matches.correct[kept])
    objects = int((~truth.crowd).sum())
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
    truth: Truth, detections: Detections, matches: Matches, score_thr: float
) -> Confusion:
    """Objects against detections from a score on.

    COCO's matches come first, so the diagonal holds the correct detections. Of what is left, the
    detection of highest score takes the object that it overlaps most, by `FOREGROUND` at least.
    """
    kept = detections.score >= score_thr
    found = np.where(kept, matches.found, -1)
    left = kept & matches.wrong
    free = ~truth.crowd
    free[found[found >= 0]] = False
    for d, g in _overlapping(truth, detections, left, free):
        if free[g] and found[d] < 0:
            found[d], free[g] = g, False
    background = len(truth.classes)
    counts = np.zeros((background + 1, background + 1), int)
    taken = np.flatnonzero(found >= 0)
    np.add.at(counts, (truth.label[found[taken]], detections.label[taken]), 1)
    np.add.at(counts, (background, detections.label[left & (found < 0)]), 1)
    np.add.at(counts, (truth.label[free], background), 1)
    return Confusion([*truth.classes, "background"], counts.tolist())


def _overlapping(
    truth: Truth, detections: Detections, found: np.ndarray, objects: np.ndarray
) -> list[tuple[int, int]]:
    """Pairs of a selected detection and object that overlap by `FOREGROUND`.

    In the order in which they are assigned: by descending score, then overlap.
    """
    pairs = []
    for image in np.intersect1d(detections.image[found], truth.image[objects]):
        ds = _of_image(detections.image, image, found)
        gs = _of_image(truth.image, image, objects)
        overlaps = rle.iou(
            [detections.outlines[d] for d in ds],
            [truth.outlines[g] for g in gs],
            [False] * len(gs),
        )
        for i, j in np.argwhere(overlaps >= FOREGROUND):
            d, g = int(ds[i]), int(gs[j])
            pairs.append((-detections.score[d], d, -overlaps[i, j], g))
    return [(d, g) for _, d, _, g in sorted(pairs)]


def _of_image(images: np.ndarray, image: int, selected: np.ndarray) -> np.ndarray:
    """Indices of the selected entries of one image; entries are ordered by image."""
    first, end = np.searchsorted(images, (image, image + 1))
    return first + np.flatnonzero(selected[first:end])


def calibration(score: np.ndarray, matches: Matches) -> Calibration:
    """Precision of detections of similar score, in bins of equal width from 0 to 1."""
    score, correct = score[matches.counted], matches.correct[matches.counted]
    index = np.clip((score * BINS).astype(int), 0, BINS - 1)
    counts = np.bincount(index, minlength=BINS)
    known = np.where(counts, counts, np.nan)
    mean = np.bincount(index, score, minlength=BINS) / known
    precision = np.bincount(index, correct, minlength=BINS) / known
    error = np.nansum(np.abs(mean - precision) * counts) / len(score) if len(score) else np.nan
    edges = np.linspace(0, 1, BINS + 1).round(6).tolist()
    return Calibration(
        edges,
        counts.tolist(),
        [none_if_nan(value) for value in mean],
        [none_if_nan(value) for value in precision],
        none_if_nan(error),
    )


def image_scores(
    truth: Truth, detections: Detections, matches: Matches, score_thr: float
) -> list[ImageScore]:
    """F1 of every image; 1 where there is nothing to find and nothing was found."""
    kept = detections.score >= score_thr
    images = len(truth.image_ids)
    correct = np.bincount(detections.image[kept & matches.correct], minlength=images)
    wrong = np.bincount(detections.image[kept & matches.wrong], minlength=images)
    missed = np.bincount(truth.image[~truth.crowd], minlength=images) - correct
    total = 2 * correct + wrong + missed
    score = np.where(total > 0, 2 * correct / np.maximum(total, 1), 1.0)
    columns = (truth.image_ids, score, correct, wrong, missed)
    return [
        ImageScore(image, file, *rest)
        for file, (image, *rest) in zip(
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
