"""The results of analyses and comparisons: plain dataclasses that become JSON.

Detection figures are fractions, as COCO gives them; those of maps are percent, as mmseg gives
them. None stands for a figure that does not exist, such as the AP of a class without objects.
"""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ClassPrecision:
    """AP of one class, mean of the overlaps .50:.95 unless stated otherwise.

    Attributes:
        name: of the class.
        objects: number of objects, without crowds.
        false_positives, false_negatives: wrong detections and objects not found, at overlap .50
            and any score.
        ap, ap50, ap75: all sizes; at overlap .50 and .75.
        small, medium, large: objects below 32² pixels, up to 96², above.
    """

    name: str
    objects: int
    false_positives: int
    false_negatives: int
    ap: float | None
    ap50: float | None
    ap75: float | None
    small: float | None
    medium: float | None
    large: float | None


@dataclass(frozen=True)
class SizePrecision:
    """Mean over the classes for objects of one size: ``all``, ``small``, ``medium``, ``large``."""

    size: str
    objects: int
    ap: float | None
    ap50: float | None
    ap75: float | None


@dataclass(frozen=True)
class ErrorKind:
    """One kind of error.

    Attributes:
        kind: one of `detection.ERROR_KINDS`, ``false positive`` or ``false negative``.
        count: number of detections; of ``missed`` and ``false negative``, of objects.
        gain: what AP50 would gain without these errors.
    """

    kind: str
    count: int
    gain: float | None


@dataclass(frozen=True)
class Curve:
    """Precision at recall 0, .01, … 1, rounded to four digits.

    Attributes:
        overlap: ``'0.50'``, ``'0.75'`` or ``'0.50:0.95'`` (mean of ten).
        mean: over the classes that have objects; its mean is AP.
        classes: by name, of those.
    """

    overlap: str
    mean: list[float]
    classes: dict[str, list[float]]


@dataclass(frozen=True)
class OperatingPoint:
    """Detections from one score on, all classes together, at overlap .50.

    Attributes:
        score: least score that counts.
        chosen: ``'best F1'``, or ``'given'`` by the user.
        precision, recall, f1: there.
    """

    score: float
    chosen: str
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Confusion:
    """How often an object of one class (row) was taken for another (column).

    Attributes:
        names: of rows and columns. For detections the last is the background: its column holds
            the missed objects, its row the detections of nothing.
        counts: objects and detections at overlap .50 from the operating point on, or pixels.
    """

    names: list[str]
    counts: list[list[int]]


@dataclass(frozen=True)
class Calibration:
    """Whether 80 % of the detections of score .8 are correct, at overlap .50.

    Attributes:
        edges: edges of the score bins, one more than bins.
        counts: detections in each bin, without ignored ones.
        score: their mean score; None for empty bins.
        precision: the part of them that is correct.
        error: expected calibration error: mean over the detections of \\|score - precision\\|.
    """

    edges: list[float]
    counts: list[int]
    score: list[float | None]
    precision: list[float | None]
    error: float | None


@dataclass(frozen=True)
class ImageScore:
    """One image.

    Attributes:
        image: id of the image in the truth; of a map, its name.
        file: its file, relative to the folder of images.
        score: F1 at the operating point and overlap .50 (fraction), or mean IoU of the classes
            that occur in the image or its prediction (percent).
        correct, wrong, missed: detections that found an object, those that did not, and objects
            that were not found; None for maps.
    """

    image: int | str
    file: str
    score: float
    correct: int | None = None
    wrong: int | None = None
    missed: int | None = None


@dataclass(frozen=True)
class DetectionAnalysis:
    """Boxes or masks; see the parts.

    Attributes:
        kind: ``'bbox' | 'segm'``.
        images, objects, detections: how many counted.
        best, worst: images with objects; images with objects or detections.
    """

    kind: str
    images: int
    objects: int
    detections: int
    sizes: list[SizePrecision]
    classes: list[ClassPrecision]
    error_kinds: list[ErrorKind]
    curves: list[Curve]
    operating_point: OperatingPoint
    confusion: Confusion
    calibration: Calibration
    best: list[ImageScore]
    worst: list[ImageScore]


@dataclass(frozen=True)
class ClassOverlap:
    """One class of maps, percent: pixels of truth, IoU, and the part of them that was found."""

    name: str
    pixels: int
    iou: float | None
    acc: float | None


@dataclass(frozen=True)
class MapAnalysis:
    """Index maps; see the parts.

    Attributes:
        images, pixels: how many counted; unlabelled pixels do not.
        miou, macc: means of the classes.
        aacc: the part of all pixels that is right.
    """

    images: int
    pixels: int
    miou: float | None
    macc: float | None
    aacc: float | None
    classes: list[ClassOverlap]
    confusion: Confusion
    best: list[ImageScore]
    worst: list[ImageScore]


@dataclass(frozen=True)
class Analysis:
    """The analysis of one set of predictions.

    Attributes:
        name: the config's stem, or the file of predictions.
        folder: where the predictions lie.
        images: folder of the images, where it is known.
        detection: by kind.
        maps: of a segmenter.
        notes: warnings, e.g. that figures differ from those of the evaluation.
    """

    name: str
    folder: str
    images: str | None = None
    detection: dict[str, DetectionAnalysis] = field(default_factory=dict)
    maps: MapAnalysis | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Change:
    """From system A to system B.

    Attributes:
        name: of the metric or the class.
        first, second: the value of A and of B.
        difference: B minus A.
        low, high: ends of its 95 % interval.
    """

    name: str
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ImageChange:
    """One image under both systems; scores as in `ImageScore`."""

    image: int | str
    file: str
    first: float
    second: float


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same images.

    Attributes:
        first, second: their names.
        kind: ``'bbox' | 'segm' | 'maps'``.
        images: how many both predicted.
        total: change of AP or mIoU.
        better: part of the resamples in which B is better.
        resamples, seed: of the bootstrap.
        classes: change of every class, in the order of the classes.
        changed: images whose score changed most, the largest change first.
        notes: warnings, e.g. that figures differ from those of an evaluation.
    """

    first: str
    second: str
    kind: str
    images: int
    total: Change
    better: float
    resamples: int
    seed: int
    classes: list[Change]
    changed: list[ImageChange]
    notes: list[str] = field(default_factory=list)


def none_if_nan(value: float) -> float | None:
    """A Python float; None for NaN."""
    return None if math.isnan(value) else float(value)
