"""Checks of boxes and areas of COCO annotations, against images and masks."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from casvit_dense.data.coco_file import Annotation, CocoFile, shown
from casvit_dense.data.coco_masks import Measured
from casvit_dense.data.findings import KINDS, Findings, Kind

Report = Callable[..., None]
Sizes = Sequence[tuple[int, int] | None]

BOX_FORM = KINDS["box-form"]
BOX_NUMBER = KINDS["box-not-finite"]
BOX_NEGATIVE = KINDS["box-negative"]
BOXES_NORMALISED = KINDS["boxes-normalised"]
BOXES_CORNERS = KINDS["boxes-corners"]
BOX_OUTSIDE = KINDS["box-outside"]
BOX_BEYOND = KINDS["box-beyond"]
BOX_EMPTY = KINDS["box-empty"]
AREA_FORM = KINDS["area-form"]
AREA_WRONG = KINDS["area-wrong"]
MASK_OUTSIDE = KINDS["mask-outside"]
MASK_BEYOND = KINDS["mask-beyond"]
BOX_MASK = KINDS["box-mask"]

#: Pixels by which annotation tools exceed an image or a mask without harm.
SLACK: Final = 3.0

NUMBERS: Final = frozenset({int, float})

#: Larger numbers are no pixels.
LARGEST: Final = 1e7


def check_boxes(
    file: CocoFile, sizes: Sizes, report: Report, findings: Findings
) -> NDArray[np.float64]:
    """Checks boxes by themselves and against their images.

    Args:
        sizes: height and width of the image of each of ``N`` annotations, where known.
        report: is told kind, index of the annotation, and what it holds.

    Returns:
        Boxes ``(N, 4)`` as x, y, width, height; NaN where one cannot be used.
    """
    annotations = file.annotations or []
    boxes = np.full((len(annotations), 4), np.nan)
    for row, annotation in enumerate(annotations):
        box = annotation.bbox
        if not isinstance(box, list) or len(box) != 4:
            report(BOX_FORM, row, _held(box))
            continue
        x1, y1, w, h = box
        if (
            type(x1) in NUMBERS
            and type(y1) in NUMBERS
            and type(w) in NUMBERS
            and type(h) in NUMBERS
        ):
            if max(box) < LARGEST and min(box) > -LARGEST:
                boxes[row] = box
            else:
                report(BOX_NUMBER, row, _held(box))
        else:
            absurd = any(v in ("NaN", "Infinity", "-Infinity") or _is_power(v) for v in box)
            report(BOX_NUMBER if absurd else BOX_FORM, row, _held(box))
    x, y, width, height = boxes.T
    high, wide = _sides(sizes)
    known = ~np.isnan(width)
    if known.any() and (np.nanmax(boxes) <= 1) and (np.nanmin(boxes) >= 0):
        findings.add(BOXES_NORMALISED, file.path, example=_held(boxes[known][0].tolist()))
        return boxes
    _report_rows(BOX_NEGATIVE, (width < 0) | (height < 0), annotations, report)
    _report_rows(BOX_EMPTY, (width == 0) | (height == 0), annotations, report)
    outside = (x >= wide) | (y >= high) | (x + width <= 0) | (y + height <= 0)
    over = np.stack([-x, -y, x + width - wide, y + height - high]).max(0)
    beyond = (over > SLACK) & (width > 0) & (height > 0)
    if known.sum() >= 5 and (beyond & ~outside).sum() > 0.5 * known.sum():
        corners = (width > x) & (height > y)
        if corners[beyond].all():
            row = int(np.flatnonzero(beyond)[0])
            report(BOXES_CORNERS, row, _held(annotations[row].bbox), count=int(beyond.sum()))
            return boxes
    _report_rows(BOX_OUTSIDE, outside & known & (width > 0) & (height > 0), annotations, report)
    _report_rows(BOX_BEYOND, beyond & ~outside, annotations, report)
    return boxes


def _report_rows(
    kind: Kind, rows: NDArray[np.bool_], annotations: Sequence[Annotation], report: Report
) -> None:
    for row in np.flatnonzero(rows).tolist():
        report(kind, row, _held(annotations[row].bbox))


def _held(box: object) -> str:
    return f"bbox {shown(box, 60)}"


def _sides(sizes: Sizes) -> NDArray[np.float64]:
    """Heights and widths ``(2, N)``, NaN where they are not known."""
    return np.array([size or (np.nan, np.nan) for size in sizes], float).reshape(-1, 2).T


def _is_power(value: object) -> bool:
    return isinstance(value, str) and value[:1].isdigit() and "e" in value.lower()


def check_against_masks(
    boxes: NDArray[np.float64],
    measured: Measured,
    sizes: Sizes,
    annotations: Sequence[Annotation],
    report: Report,
) -> None:
    """Compares polygons with images and with boxes."""
    x1, y1, x2, y2 = measured.extents.T
    high, wide = _sides(sizes)
    over = np.stack([-x1, -y1, x2 - wide, y2 - high]).max(0)
    far = (over > np.maximum(high, wide)) | (np.abs(measured.extents).max(1) > LARGEST)
    for row in np.flatnonzero(far):
        report(MASK_OUTSIDE, int(row), f"from {x1[row]:g}, {y1[row]:g} to {x2[row]:g}, {y2[row]:g}")
    for row in np.flatnonzero((over > SLACK) & ~far):
        report(MASK_BEYOND, int(row), f"by {over[row]:.0f} pixels")
    x, y, width, height = boxes.T
    apart = np.stack([x1 - x, y1 - y, x2 - x - width, y2 - y - height])
    apart = np.abs(apart).max(0)
    allowed = np.maximum(SLACK, 0.1 * np.maximum(width, height))
    for row in np.flatnonzero((apart > allowed) & ~far):
        held = f"{_held(annotations[row].bbox)}, {apart[row]:.0f} pixels off"
        report(BOX_MASK, int(row), held)


def check_areas(
    annotations: Sequence[Annotation],
    boxes: NDArray[np.float64],
    measured: Measured,
    report: Report,
) -> None:
    """Checks areas by themselves and against mask and box."""
    areas = np.full(len(annotations), np.nan)
    for row, annotation in enumerate(annotations):
        area = annotation.area
        if type(area) in (int, float) and 0 <= area < LARGEST**2:
            areas[row] = area
        else:
            report(AREA_FORM, row, f"area {shown(area, 60)}")
    of_box = boxes[:, 2] * boxes[:, 3]
    low = np.fmin(of_box, measured.areas)
    high = np.fmax(of_box, measured.areas)
    # Tools write the area of either; a crowd's mask may fill little of its box.
    wrong = (areas > 2 * high + 10) | (areas < low / 4 - 10)
    for row in np.flatnonzero(wrong):
        report(AREA_WRONG, int(row), f"area {areas[row]:g}, box {of_box[row]:g}")
