"""What a loader keeps of an annotation file, and what it drops, by reason."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from casvit_dense.data.coco_file import CocoFile
from casvit_dense.data.findings import KINDS, Findings
from casvit_dense.progress import counted

OBJECTS_LOST = KINDS["objects-lost"]
IMAGES_LOST = KINDS["images-lost"]
NOTHING_LEFT = KINDS["nothing-left"]
ALL_CROWD = KINDS["all-crowd"]

LOSS: Final = 0.05


def count_kept(
    file: CocoFile,
    boxes: NDArray[np.float64],
    classes: Sequence[str] | None,
    min_size: int,
    keeps_empty: bool,
) -> dict[str, Any]:
    """Counts as mmdet's ``CocoDataset`` loads and filters.

    Args:
        boxes: ``(N, 4)`` as x, y, width, height; NaN where one cannot be used.
        classes: that are used; None: all.
        min_size: images with a shorter side are left out, in pixels.
        keeps_empty: whether images without objects are kept.

    Returns:
        ``images``, ``images_used``, ``objects``, ``objects_used``, ``crowds``, ``dropped`` (objects
        by reason), ``images_dropped``, and ``classes`` (objects by name).
    """
    annotations = file.annotations or []
    names = {c.id: c.name for c in file.categories if type(c.id) is int}
    used_ids = {i for i, name in names.items() if classes is None or name in classes}
    sizes = {i.id: (i.width, i.height) for i in file.images if type(i.id) is int}
    small = {number for number, size in sizes.items() if _is_small(size, min_size)}
    dropped: Counter[str] = Counter()
    by_class: Counter[str] = Counter()
    with_class, with_others = set[int](), set[int]()
    crowds = 0
    for annotation, (x, y, width, height) in zip(annotations, boxes.tolist(), strict=True):
        reason = _why_dropped(annotation, x, y, width, height, sizes, used_ids)
        if type(annotation.image_id) is int:  # kept or not: mmdet's own filter
            (with_others if reason == OTHER_CLASS else with_class).add(annotation.image_id)
        if reason is None and annotation.image_id in small:
            reason = "in images left out"
        if reason:
            dropped[reason] += 1
            continue
        crowds += annotation.iscrowd in (1, True)
        by_class[str(names[annotation.category_id])] += 1
    images_dropped: Counter[str] = Counter()
    for image in file.images:
        number = image.id if type(image.id) is int else None
        if not keeps_empty and number not in with_class:
            images_dropped[ONLY_OTHERS if number in with_others else "without objects"] += 1
        elif number in small:
            images_dropped[f"smaller than {min_size} pixels"] += 1
    return {
        "images": len(file.images),
        "images_used": len(file.images) - sum(images_dropped.values()),
        "images_dropped": dict(images_dropped),
        "objects": len(annotations),
        "objects_used": len(annotations) - sum(dropped.values()),
        "crowds": crowds,
        "dropped": dict(dropped),
        "classes": {str(name): by_class[str(name)] for i, name in names.items() if i in used_ids},
    }


def _is_small(size: tuple[Any, Any], least: int) -> bool:
    return all(type(side) is int for side in size) and min(size) < least


#: Reasons by choice: some of a file's classes are used.
OTHER_CLASS: Final = "of other categories"
ONLY_OTHERS: Final = "with other categories alone"


def _why_dropped(
    annotation: Any,
    x: float,
    y: float,
    width: float,
    height: float,
    sizes: Mapping[int, tuple[Any, Any]],
    used_ids: set[int],
) -> str | None:
    image_id, category_id = annotation.image_id, annotation.category_id
    if type(image_id) is not int or image_id not in sizes or type(category_id) is not int:
        return "referring to nothing"
    if category_id not in used_ids:
        return OTHER_CLASS
    if annotation.ignore in (1, True):
        return "marked ignore"
    wide, high = sizes[image_id]
    if width != width or type(wide) is not int or type(high) is not int:
        return "without a usable box"
    if min(x + width, wide) <= max(x, 0) or min(y + height, high) <= max(y, 0):
        return "outside the image" if width > 0 and height > 0 else "smaller than a pixel"
    if type(annotation.area) not in (int, float) or annotation.area <= 0:
        return "area 0"
    if width < 1 or height < 1:
        return "smaller than a pixel"
    return None


def report_balance(path: Path, facts: Mapping[str, Any], findings: Findings) -> None:
    """Says what is lost."""
    example = balance(facts)
    for noun, kind, chosen in (
        ("objects", OBJECTS_LOST, facts["dropped"].get(OTHER_CLASS, 0)),
        ("images", IMAGES_LOST, facts["images_dropped"].get(ONLY_OTHERS, 0)),
    ):
        total, used = facts[noun] - chosen, facts[f"{noun}_used"]
        if not used and (total or noun == "images"):
            findings.add(NOTHING_LEFT, path, example=example)
            return
        if total - used > LOSS * total:
            findings.add(kind, path, example=example, count=total - used)
    if facts["objects_used"] and facts["crowds"] == facts["objects_used"]:
        findings.add(ALL_CROWD, path, example=example, count=facts["crowds"])


def balance(facts: Mapping[str, Any]) -> str:
    """One line: ``3 of 4 images, 25 of 27 objects (2 outside the image)``; of maps ``4 images``."""
    if "objects" not in facts:
        return counted(facts["images"], "image")
    parts = []
    for noun, lost in (("images", facts["images_dropped"]), ("objects", facts["dropped"])):
        total, used = facts[noun], facts[f"{noun}_used"]
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in lost.items())
        kept = f"{used:,} of {total:,} {noun}" if used != total else counted(total, noun[:-1])
        parts.append(kept + (f" ({reasons})" if reasons else ""))
    return ", ".join(parts)
