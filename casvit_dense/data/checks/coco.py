"""Checks every value of a COCO annotation file, and counts what a loader keeps of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from casvit_dense.data.checks.balance import count_kept, report_balance
from casvit_dense.data.checks.boxes import check_against_masks, check_areas, check_boxes
from casvit_dense.data.class_names import difference
from casvit_dense.data.coco_file import CocoFile, as_content, hashable, read_coco, shown
from casvit_dense.data.coco_masks import Measured, measure_masks
from casvit_dense.data.findings import KINDS, Findings, Kind
from casvit_dense.errors import shortlist

RECORD_ID = KINDS["record-id"]
ID_REPEATED = KINDS["id-repeated"]
REFERENCE = KINDS["reference"]
NO_RECORDS = KINDS["no-records"]
FILE_NAME = KINDS["file-name"]
FILE_REPEATED = KINDS["file-repeated"]
IMAGE_SIZE = KINDS["image-size"]
CATEGORY_NAME = KINDS["category-name"]
CLASSES = KINDS["classes-differ"]
FLAG = KINDS["flag-form"]
MASK_MISSING = KINDS["mask-missing"]

#: The largest id that packages can hold.
LARGEST_ID: Final = 2**63 - 1


@dataclass(frozen=True)
class Use:
    """What an annotation file is for.

    Attributes:
        classes: names that the heads were built for, in order; None: those of the file.
        more_categories: the file may hold further categories (a chosen subset of classes).
        masks: whether the model needs masks; None: if the file has some, every object must.
        min_size: a loader leaves out images of shorter sides, in pixels.
        keeps_empty: whether a loader keeps images without objects.
        truth: whether annotations are needed at all.
    """

    classes: Sequence[str] | None = None
    more_categories: bool = False
    masks: bool | None = None
    min_size: int = 0
    keeps_empty: bool = True
    truth: bool = True


def check_coco(path: Path, split: str, use: Use, findings: Findings) -> CocoFile | None:
    """Checks an annotation file by itself, without images.

    ``findings.splits`` gets its numbers under the split's name.

    Returns:
        The file; None if it has no records that could be checked.

    Raises:
        UserError: there is no such file, or it may not be read.
    """
    file = read_coco(path, findings)
    if file is None:
        return None
    if file.annotations is None and use.truth:
        findings.add(NO_RECORDS, path, where="annotations")
        return None
    for kind in ("images", "categories") + (("annotations",) if use.truth else ()):
        if not getattr(file, kind):
            findings.add(NO_RECORDS, path, where=kind)
    _check_ids(file, findings)
    _check_images(file, findings)
    _check_categories(file, use, findings)
    measured, boxes = _check_annotations(file, use, findings)
    facts = count_kept(file, boxes, use.classes, use.min_size, use.keeps_empty)
    facts["masks"] = int(measured.present.sum())
    findings.splits[split] = facts
    if use.truth and file.annotations:
        report_balance(path, facts, findings)
    return file


def read_checked(path: Path, masks: bool) -> dict[str, Any]:
    """The content of an annotation file whose values are sound.

    Args:
        masks: whether every object must have one.

    Raises:
        UserError: it is not there, or with every fault in it.
    """
    findings = Findings()
    file = check_coco(path, "truth", Use(masks=masks), findings)
    findings.raise_errors()
    assert file is not None  # otherwise something was found
    return as_content(file)


def _check_ids(file: CocoFile, findings: Findings) -> None:
    for kind in ("images", "categories", "annotations"):
        records = getattr(file, kind) or []
        usable = []
        for number, record in enumerate(records):
            if type(record.id) is int and abs(record.id) <= LARGEST_ID:
                usable.append(record.id)
            else:
                findings.add(RECORD_ID, file.path, f"{kind}[{number}]", f"id {shown(record.id)}")
        if len(set(usable)) < len(usable):
            for value, count in Counter(usable).items():
                if count > 1:
                    findings.add(ID_REPEATED, file.path, f"{kind} {value}", f"{count} times")


def _check_images(file: CocoFile, findings: Findings) -> None:
    names: Counter[str] = Counter()
    for image in file.images:
        where = f"image {shown(image.id)}"
        if isinstance(image.file_name, str) and image.file_name.strip("./ ") != "":
            names[image.file_name] += 1
            where += f" ({image.file_name})"
        else:
            findings.add(FILE_NAME, file.path, where, f"file_name {shown(image.file_name)}")
        if image_size(image.height, image.width) is None:
            example = f"width {shown(image.width)}, height {shown(image.height)}"
            findings.add(IMAGE_SIZE, file.path, where, example)
    for name, count in names.items():
        if count > 1:
            findings.add(FILE_REPEATED, file.path, name, f"{count} records")


def image_size(height: object, width: object) -> tuple[int, int] | None:
    """Height and width of a record; None if they are no pixels."""
    if type(height) is int and type(width) is int and 0 < height < 2**31 and 0 < width < 2**31:
        return height, width
    return None


def _check_categories(file: CocoFile, use: Use, findings: Findings) -> None:
    names: list[str] = []
    for category in file.categories:
        if isinstance(category.name, str) and category.name.strip() and category.name not in names:
            names.append(category.name)
        else:
            where, example = f"category {shown(category.id)}", f"name {shown(category.name)}"
            findings.add(CATEGORY_NAME, file.path, where, example)
    if use.classes is None:
        return
    missing = [name for name in use.classes if name not in names]
    extra = [name for name in names if name not in use.classes]
    if missing or (extra and not use.more_categories):
        example = (
            f"its {len(names)} categories are not the {len(use.classes)} classes of the config; "
            + difference(use.classes, names, "the config", "the file")
        )
        findings.add(CLASSES, file.path, example=example)
        return
    in_file_order = [name for name in names if name in use.classes]
    if in_file_order != list(use.classes):
        # mmdet numbers labels in the file's order, not in that of the classes.
        example = (
            f"its categories come as {shortlist(in_file_order)}, the classes of the config as "
            f"{shortlist(use.classes)}; write the classes in the file's order"
        )
        findings.add(CLASSES, file.path, example=example)


def _check_annotations(
    file: CocoFile, use: Use, findings: Findings
) -> tuple[Measured, NDArray[np.float64]]:
    """Checks every object; returns its mask and its box ``(N, 4)`` in numbers."""
    annotations = file.annotations or []
    images = {image.id: image for image in file.images if hashable(image.id)}
    of_object = [images.get(a.image_id) if hashable(a.image_id) else None for a in annotations]
    sizes = [None if i is None else image_size(i.height, i.width) for i in of_object]

    def report(kind: Kind, row: int, example: str = "", **more: Any) -> None:
        annotation = annotations[row]
        image = of_object[row]
        where = f"annotation {shown(annotation.id)}"
        where += f" ({image.file_name})" if image is not None else ""
        findings.add(kind, file.path, where, example, **more)

    _check_references(file, report)
    for row, annotation in enumerate(annotations):
        for key in ("iscrowd", "ignore"):
            value = getattr(annotation, key)
            if value is not UNSET and not (type(value) in (int, bool) and value in (0, 1)):
                report(FLAG, row, f"{key} {shown(value)}")
    boxes = check_boxes(file, sizes, report, findings)
    measured = measure_masks([a.segmentation for a in annotations], sizes, report)
    _check_masks_present(measured, use, report)
    check_against_masks(boxes, measured, sizes, annotations, report)
    check_areas(annotations, boxes, measured, report)
    return measured, boxes


def _check_references(file: CocoFile, report: Callable[..., None]) -> None:
    for key, records in (("image_id", file.images), ("category_id", file.categories)):
        known = {record.id for record in records if hashable(record.id)}
        for row, annotation in enumerate(file.annotations or ()):
            value = getattr(annotation, key)
            if type(value) is not int or value not in known:
                report(REFERENCE, row, f"{key} {shown(value)}")


def _check_masks_present(measured: Measured, use: Use, report: Callable[..., None]) -> None:
    some, every = measured.present.any(), measured.present.all()
    if every or not (some or use.masks):
        return
    severity = "warning" if use.masks is False else None  # a recipe for boxes reads none
    for row in np.flatnonzero(~measured.present):
        report(MASK_MISSING, int(row), severity=severity)


def images_of(file: CocoFile) -> dict[str, tuple[int, int]]:
    """Width and height by file name, of the records that have both."""
    return {
        image.file_name: (image.width, image.height)
        for image in file.images
        if isinstance(image.file_name, str) and image_size(image.height, image.width)
    }
