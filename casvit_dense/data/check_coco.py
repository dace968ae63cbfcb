"""Checks a data set in COCO format, in seconds, before a training of hours."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from casvit_dense.errors import UserError, shortlist
from casvit_dense.files import read_json


def check_coco(
    ann_file: Path,
    image_dir: Path,
    classes: Sequence[str],
    allow_more: bool = False,
    needs_masks: bool = False,
    evaluated: bool = False,
) -> int:
    """Compares an annotation file with the classes of the heads and the images on disk.

    Args:
        classes: names that the model's heads were built for, in order.
        allow_more: the file may hold further categories (a chosen subset of classes).
        needs_masks: every annotation must have a segmentation.
        evaluated: results are compared with this file, not only trained on.

    Returns:
        Number of images.

    Raises:
        UserError: missing file or folder, a file that is not COCO's, categories that differ from
            the classes, an annotation that no evaluation can match, missing images.
    """
    if not ann_file.is_file():
        raise UserError(f"no annotation file {ann_file}; --data-root names the data set's folder")
    content = read_instances(ann_file, needs_masks)
    if evaluated:
        check_matchable(content["annotations"], ann_file)
    names = [category["name"] for category in content["categories"]]
    missing = [name for name in classes if name not in names]
    extra = [name for name in names if name not in classes]
    if missing or (extra and not allow_more):
        raise UserError(
            f"{ann_file}: its {len(names)} categories are not the {len(classes)} classes of the "
            f"config; only in the config: {shortlist(missing)}; only in the file: "
            f"{shortlist(extra)}. Set metainfo=dict(classes=(…)) of every data set "
            "and num_classes of every head"
        )
    in_file_order = [name for name in names if name in classes]
    if in_file_order != list(classes):
        # mmdet numbers labels in the file's order, not in that of the classes.
        raise UserError(
            f"{ann_file}: its categories come as {shortlist(in_file_order)}, the classes of "
            f"the config as {shortlist(classes)}; write the classes in the file's order"
        )
    check_images(image_dir, [image["file_name"] for image in content["images"]], ann_file)
    return len(content["images"])


def read_instances(ann_file: Path, needs_masks: bool) -> dict[str, Any]:
    """Reads a COCO instances file.

    Raises:
        UserError: not such a file, or a record on which a data loader would fail, or which it
            would silently drop: one that lacks a key, repeats an id, or refers to nothing.
    """
    content = read_json(ann_file)
    needed = {
        "categories": ("id", "name"),
        "images": ("id", "file_name", "width", "height"),
        "annotations": ("id", "image_id", "category_id", "bbox", "area")
        + ("segmentation",) * needs_masks,
    }
    absent = set(needed) - set(content) if isinstance(content, dict) else set(needed)
    if absent:
        raise UserError(f"{ann_file}: not a COCO instances file, lacks {', '.join(sorted(absent))}")
    for kind, keys in needed.items():
        if not content[kind]:
            raise UserError(f"{ann_file}: holds no {kind}")
        for record in content[kind]:
            missing = [key for key in keys if key not in record]
            if missing:
                raise UserError(f"{ann_file}: {kind} {record.get('id')} lacks {', '.join(missing)}")
    ids = {kind: Counter(record["id"] for record in content[kind]) for kind in needed}
    twice = [f"{kind} {n}" for kind, counts in ids.items() for n, c in counts.items() if c > 1]
    if twice:
        raise UserError(f"{ann_file}: ids that occur more than once: {shortlist(twice)}")
    for record in content["annotations"]:
        for key, kind in (("image_id", "images"), ("category_id", "categories")):
            if record[key] not in ids[kind]:
                raise UserError(
                    f"{ann_file}: annotation {record['id']} has {key} {record[key]}, which is not "
                    f"among the {kind}"
                )
    return content


def check_matchable(annotations: Sequence[dict], ann_file: Path) -> None:
    """Looks for the id 0, which COCO's evaluation uses for a detection without a match.

    pycocotools stores the id of a detection's match and counts the detection as correct if that
    is not 0; so does faster-coco-eval.
    """
    if any(annotation["id"] == 0 for annotation in annotations):
        raise UserError(
            f"{ann_file}: an annotation has the id 0, which COCO's evaluation takes for no match: "
            "a detection of it would count as wrong. Number the annotations from 1"
        )


def check_images(image_dir: Path, names: Sequence[str], listed_in: Path) -> None:
    """Looks for every listed image, folder by folder rather than file by file."""
    if not image_dir.is_dir():
        raise UserError(f"no image folder {image_dir}; --data-root names the data set's folder")
    present: dict[Path, set[str]] = {}
    missing = []
    for name in names:
        folder = (image_dir / name).parent
        if folder not in present:
            present[folder] = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
        if Path(name).name not in present[folder]:
            missing.append(name)
    if missing:
        raise UserError(
            f"{image_dir}: {len(missing)} of {len(names)} images of {listed_in} are missing: "
            f"{shortlist(missing)}"
        )
