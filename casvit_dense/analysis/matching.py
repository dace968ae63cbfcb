"""Matching by COCO's rules, which hotcoco does (https://github.com/derekallman/hotcoco)."""

import warnings
from dataclasses import dataclass
from typing import Any

import hotcoco
import numpy as np

from casvit_dense.analysis.coco_arrays import Detections, Truth

#: Overlaps (intersection over union) from which on a detection counts as correct.
THRESHOLDS = np.linspace(0.5, 0.95, 10)

#: The overlap of everything but AP.
FOREGROUND = 0.5


@dataclass(frozen=True)
class Matches:
    """COCO's assignment of D detections to objects at one overlap, all sizes.

    Attributes:
        found: ``(D,)``, index of the object that a correct detection found, else -1.
        wrong: ``(D,)``; a detection that is neither correct nor wrong lies in a crowd.
    """

    found: np.ndarray
    wrong: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """``(D,)``: found an object."""
        return self.found >= 0

    @property
    def counted(self) -> np.ndarray:
        """``(D,)``: correct or wrong."""
        return self.correct | self.wrong


def evaluate(truth: Truth, detections: Detections, kind: str) -> hotcoco.COCOeval:
    """Matches detections with objects, by COCO's rules.

    Returns:
        hotcoco's evaluation after ``evaluate()``; its ids are indices into the arrays, plus 1.
    """
    outline = "bbox" if kind == "bbox" else "segmentation"
    images = [
        {"id": i, "height": height, "width": width, "file_name": name}
        for i, (name, (height, width)) in enumerate(
            zip(truth.file_names, truth.sizes.tolist(), strict=True), 1
        )
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(truth.classes, 1)]
    annotations = _entries(truth, outline)
    for i, entry in enumerate(annotations):
        entry.update(id=i + 1, area=float(truth.area[i]), iscrowd=int(truth.crowd[i]))
    results = _entries(detections, outline)
    for entry, score in zip(results, detections.score.tolist(), strict=True):
        entry["score"] = score
    objects = hotcoco.COCO({"images": images, "categories": categories, "annotations": annotations})
    evaluation = hotcoco.COCOeval(objects, objects.load_res(results), kind)
    evaluation.evaluate()
    return evaluation


def _entries(data: Truth | Detections, outline: str) -> list[dict[str, Any]]:
    outlines = data.outlines if isinstance(data.outlines, list) else data.outlines.tolist()
    columns = zip(data.image.tolist(), data.label.tolist(), outlines, strict=True)
    return [
        {"image_id": image + 1, "category_id": label + 1, outline: value}
        for image, label, value in columns
    ]


def matches_of(
    evaluation: hotcoco.COCOeval, detections: Detections, overlap: float = FOREGROUND
) -> Matches:
    """The assignment at one of `THRESHOLDS`."""
    diagnostics = evaluation.image_diagnostics(iou_thr=overlap)
    status, pairs = diagnostics["dt_status"], diagnostics["dt_match"]
    counted = np.zeros(len(detections.score), bool)
    counted[np.fromiter(status, int, len(status)) - 1] = True  # ignored ones have no status
    found = np.full(len(detections.score), -1)
    found[np.fromiter(pairs, int, len(pairs)) - 1] = np.fromiter(pairs.values(), int) - 1
    found[~counted] = -1
    return Matches(found, counted & (found < 0))


def precision_curves(evaluation: hotcoco.COCOeval) -> np.ndarray:
    """Precision at 101 recalls, ``(4, 10, 101, K)``: sizes, overlaps, recalls, classes.

    NaN for a class without objects of the size.
    """
    evaluation.accumulate()
    assert evaluation.eval is not None
    precision = evaluation.eval["precision"][..., -1].transpose(3, 0, 1, 2)
    return np.where(precision < 0, np.nan, precision)


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """Mean along the last axis of the classes that have a value; NaN if none has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no class has a value
        return np.nanmean(values, axis=-1)
