"""Repairs of single boxes and masks of COCO files."""

from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Raw

from casvit_dense.data.checks.boxes import LARGEST, SLACK
from casvit_dense.data.coco_masks import (
    NO_MASK,
    MaskFaultError,
    RunLengths,
    is_empty,
    mask_area,
    polygon_area,
    read_mask,
)

Box = tuple[float, float, float, float]
Polygons = list[list[float]]


def number(value: object) -> float | None:
    """A finite number, perhaps written as text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST:
        return float(value)
    return None


def flag(value: object) -> int | None:
    """0 or 1, perhaps written as text, a truth value or nothing."""
    if value is UNSET or value is None:
        return 0
    found = number(int(value) if isinstance(value, bool) else value)
    return int(found) if found in (0, 1) else None


def read_box(value: object) -> Box | None:
    """A box of four numbers; negative widths and heights are turned."""
    found = [number(v) for v in value] if isinstance(value, list) else []
    if len(found) != 4 or None in found:
        return None
    x, y, width, height = (v for v in found if v is not None)
    if width < 0 or height < 0:
        x, y = x + min(width, 0), y + min(height, 0)
    return x, y, abs(width), abs(height)


def cut_box(box: Box, size: tuple[int, int]) -> Box | None:
    """The part of a box within an image of a width and height; None if that is below a pixel.

    What exceeds the image by less than annotation tools do is left.
    """
    x, y, width, height = box
    x1, y1 = max(x, 0.0), max(y, 0.0)
    x2, y2 = min(x + width, size[0]), min(y + height, size[1])
    if x2 - x1 < 1 or y2 - y1 < 1:
        return None
    over = max(-x, -y, x + width - size[0], y + height - size[1])
    return (x1, y1, x2 - x1, y2 - y1) if over > SLACK else box


def fix_mask(mask: Raw, size: tuple[int, int]) -> Raw:
    """A mask with what cannot be used of it left out, `NO_MASK` if nothing remains.

    Args:
        size: width and height of the image.
    """
    if is_empty(mask):
        return NO_MASK
    try:
        read = read_mask(mask)
    except MaskFaultError:
        return _as_raw(_cut(_usable_polygons(mask), size))
    if isinstance(read, RunLengths):
        return mask if tuple(read.size) == size[::-1] else NO_MASK
    cut = _cut(read, size)
    return mask if cut == read else _as_raw(cut)


def _as_raw(polygons: Polygons) -> Raw:
    return Raw(msgspec.json.encode(polygons)) if polygons else NO_MASK


def _usable_polygons(mask: Raw) -> Polygons:
    """The polygons of a faulty mask that are none the less whole; one may lack its outer list."""
    try:
        value = msgspec.json.decode(mask)
    except msgspec.DecodeError:
        return []
    if not isinstance(value, list):
        return []
    if value and all(not isinstance(part, list) for part in value):
        value = [value]
    polygons = [[number(v) for v in part] for part in value if isinstance(part, list)]
    return [
        [v for v in polygon if v is not None]
        for polygon in polygons
        if len(polygon) >= 6 and len(polygon) % 2 == 0 and None not in polygon
    ]


def _cut(polygons: Polygons, size: tuple[int, int]) -> Polygons:
    """Polygons within an image; those that lie far outside or vanish are left out."""
    kept = []
    for polygon in polygons:
        points = np.array(polygon, float).reshape(-1, 2)
        over = max(float(-points.min()), float((points - size).max()))
        if over > max(size):
            continue
        if over > SLACK:
            polygon = np.clip(points, 0, size).ravel().tolist()
        if polygon_area(polygon):
            kept.append(polygon)
    return kept


def box_of(mask: Raw) -> Box | None:
    """The box around a mask of polygons."""
    try:
        read = read_mask(mask) if not is_empty(mask) else None
    except MaskFaultError:
        return None
    if read is None or isinstance(read, RunLengths):
        return None
    points = np.array([v for polygon in read for v in polygon], float).reshape(-1, 2)
    (x, y), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
    return x, y, x2 - x, y2 - y


def area_of(given: Any, box: Box, mask: Raw) -> float:
    """The area that was given where it fits, else that of the mask, else that of the box."""
    of_box, of_mask = box[2] * box[3], mask_area(mask)
    low, high = sorted((of_box, of_box if of_mask is None else of_mask))
    if number(given) == given and max(low / 4 - 10, 0) < given <= 2 * high + 10:
        return given
    return of_box if of_mask is None else of_mask
