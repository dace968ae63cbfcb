"""COCO files as arrays: the ground truth, and the detections that are compared with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from casvit_dense.data.checks.coco import read_checked
from casvit_dense.errors import UserError
from casvit_dense.files import read_json

#: Detections of one class in one image that COCO counts: those of highest score.
MAX_DETECTIONS = 100

KINDS = ("bbox", "segm")

#: Boxes ``(n, 4)`` as x, y, width, height in pixels, or ``n`` compressed run lengths.
Outlines = np.ndarray | list[dict[str, Any]]


@dataclass(frozen=True)
class Truth:
    """The ground truth of a data set: G objects in N images.

    Attributes:
        image_ids: ``(N,)``, ascending: the order in which COCO ranks equal scores.
        file_names: file names of the images.
        sizes: ``(N, 2)``, height and width in pixels.
        classes: class names, K of them.
        category_ids: category ids of the classes.
        image: ``(G,)``, index of the object's image.
        label: ``(G,)``, index of its class.
        area: ``(G,)``, in pixels, as in the file.
        crowd: ``(G,)``, crowd regions; detections inside count neither as right nor as wrong.
        outlines: see `Outlines`.
    """

    image_ids: np.ndarray
    file_names: tuple[str, ...]
    sizes: np.ndarray
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    image: np.ndarray
    label: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    outlines: Outlines

    def without_crowds(self) -> "Truth":
        """The same images with the objects alone."""
        kept = ~self.crowd
        return replace(
            self,
            image=self.image[kept],
            label=self.label[kept],
            area=self.area[kept],
            crowd=self.crowd[kept],
            outlines=_where(self.outlines, kept),
        )


@dataclass(frozen=True)
class Detections:
    """D detections, ordered by image, class and descending score; at most `MAX_DETECTIONS` of each.

    Attributes:
        image, label, outlines: as in `Truth`.
        score: ``(D,)``.
    """

    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    outlines: Outlines

    def where(self, mask: np.ndarray) -> "Detections":
        """Those that a mask ``(D,)`` selects."""
        outlines = _where(self.outlines, mask)
        return Detections(self.image[mask], self.label[mask], self.score[mask], outlines)


def _where(outlines: Outlines, mask: np.ndarray) -> Outlines:
    return list(compress(outlines, mask)) if isinstance(outlines, list) else outlines[mask]


def read_truth(
    path: Path,
    kind: str,
    classes: Sequence[str] | None = None,
    indices: int | Sequence[int] | None = None,
) -> Truth:
    """Reads an instances file.

    Args:
        kind: ``'bbox'`` or ``'segm'``; only the latter reads masks.
        classes: classes that were evaluated, in their order; all by default.
        indices: images that were evaluated, as mmengine's data sets take them: positions in the
            file, or a number of images from its start (negative: from its end).

    Raises:
        UserError: not a readable COCO file, an invalid box or mask, an unknown class.
    """
    content = read_checked(path, masks=kind == "segm")
    ids = {category["name"]: category["id"] for category in content["categories"]}
    names = tuple(ids if classes is None else classes)
    unknown = [name for name in names if name not in ids]
    if unknown:
        raise UserError(f"{path}: has no category {', '.join(unknown)}, which was evaluated")
    _check_texts(content["categories"], "name", path)
    _check_texts(content["images"], "file_name", path)
    images = sorted(_select_images(content["images"], indices, path), key=lambda image: image["id"])
    index = {image["id"]: i for i, image in enumerate(images)}
    label = {ids[name]: i for i, name in enumerate(names)}
    objects = [
        a for a in content["annotations"] if a["category_id"] in label and a["image_id"] in index
    ]
    objects.sort(key=lambda a: index[a["image_id"]])  # stable: file order decides equal overlaps
    where = [index[a["image_id"]] for a in objects]
    if kind == "bbox":
        outlines: Outlines = _boxes(objects, path)
    else:
        outlines = [_truth_mask(a, images[i], path) for a, i in zip(objects, where, strict=True)]
    return Truth(
        image_ids=np.array([image["id"] for image in images], np.int64),
        file_names=tuple(image["file_name"] for image in images),
        sizes=np.stack([_numbers(images, key, path) for key in ("height", "width")], 1).astype(int),
        classes=names,
        category_ids=tuple(ids[name] for name in names),
        image=np.array(where, np.int32),
        label=np.array([label[a["category_id"]] for a in objects], np.int32),
        area=_numbers(objects, "area", path),
        crowd=np.array([bool(a.get("iscrowd")) for a in objects], bool),
        outlines=outlines,
    )


def _check_texts(records: Sequence[Mapping[str, Any]], key: str, path: Path) -> None:
    for record in records:
        text = record[key]
        # Lone UTF-16 surrogates, which JSON may hold, cannot be printed or written.
        if not isinstance(text, str) or any("\ud800" <= char <= "\udfff" for char in text):
            raise UserError(f"{path}: '{key}' is not readable text in {dict(record)!a}")


def _select_images(
    images: list[dict], indices: int | Sequence[int] | None, path: Path
) -> list[dict]:
    if indices is None:
        return images
    if isinstance(indices, int):
        return images[:indices] if indices >= 0 else images[indices:]
    if any(not -len(images) <= i < len(images) for i in indices):
        raise UserError(f"{path}: holds {len(images)} images, fewer than were evaluated")
    return [images[i] for i in indices]


def _truth_mask(annotation: Mapping[str, Any], image: Mapping[str, Any], path: Path) -> dict:
    outline, height, width = annotation["segmentation"], image["height"], image["width"]
    try:
        if isinstance(outline, list):
            return rle.merge(rle.frPyObjects(outline, height, width))
        if isinstance(outline["counts"], list):
            return rle.frPyObjects(outline, height, width)
        _check_mask(outline, [height, width], path)
        return {"size": outline["size"], "counts": outline["counts"]}
    except UserError:
        raise
    except Exception as error:  # pycocotools raises bare ones
        raise UserError(
            f"{path}: the segmentation of annotation {annotation['id']} cannot be read ({error})"
        ) from error


def _boxes(records: Sequence[Mapping[str, Any]], path: Path) -> np.ndarray:
    try:
        boxes = np.array([record["bbox"] for record in records], float).reshape(len(records), 4)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: a bbox is not four numbers ({error})") from error
    _check_finite(boxes.sum(axis=1), records, "bbox", path)
    return boxes


def read_detections(path: Path, kind: str, truth: Truth) -> Detections:
    """Reads a file in COCO's results format.

    Raises:
        UserError: not such a file, or detections of images or categories that the truth lacks.
    """
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise UserError(f"{path}: not a COCO results file, which is a list of detections")
    outline = "bbox" if kind == "bbox" else "segmentation"
    for key in ("image_id", "category_id", "score", outline):
        first = next((i for i, entry in enumerate(content) if key not in entry), None)
        if first is not None:
            raise UserError(f"{path}: detection {first} (from 0) lacks '{key}'")
    image = _indices(content, "image_id", truth.image_ids.tolist(), path)
    label = _indices(content, "category_id", truth.category_ids, path)
    score = _numbers(content, "score", path)
    kept = _highest_scores(image, label, score)
    records = [content[i] for i in kept]
    if kind == "bbox":
        outlines: Outlines = _boxes(records, path)
    else:
        outlines = [record["segmentation"] for record in records]
        sizes = truth.sizes[image[kept]].tolist()
        for mask, size in zip(outlines, sizes, strict=True):
            _check_mask(mask, size, path)
    return Detections(image[kept], label[kept], score[kept], outlines)


def _indices(records: list[dict], key: str, known: Sequence[int], path: Path) -> np.ndarray:
    index = {value: i for i, value in enumerate(known)}
    try:
        return np.array([index[record[key]] for record in records], np.int32)
    except (KeyError, TypeError):
        unknown = next(
            r[key] for r in records if not isinstance(r[key], int) or r[key] not in index
        )
        raise UserError(
            f"{path}: a detection has {key} {unknown!r}, which the truth does not have; the file "
            "belongs to another data set"
        ) from None


def _numbers(records: Sequence[Mapping[str, Any]], key: str, path: Path) -> np.ndarray:
    try:
        values = np.array([float(record[key]) for record in records])
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: a value of '{key}' is not a number ({error})") from error
    _check_finite(values, records, key, path)
    return values


def _check_finite(
    values: np.ndarray, records: Sequence[Mapping[str, Any]], key: str, path: Path
) -> None:
    if not np.isfinite(values).all():
        first = np.flatnonzero(~np.isfinite(values))[0]
        raise UserError(f"{path}: '{key}' is {records[first][key]} in {dict(records[first])!a}")


def _highest_scores(image: np.ndarray, label: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Order by image, class, descending score (ties: as in the file); `MAX_DETECTIONS` of each."""
    order = np.lexsort((-score, label, image))
    group = np.stack([image[order], label[order]])
    starts = np.flatnonzero(np.diff(group, axis=1, prepend=-1).any(axis=0))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return order[rank < MAX_DETECTIONS]


def _check_mask(mask: Any, size: list[int], path: Path) -> None:
    """Checks that a mask has compressed run lengths that fit its image."""
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str | bytes):
        raise UserError(f"{path}: a segmentation is not in compressed run lengths")
    if mask.get("size") != size:
        raise UserError(
            f"{path}: a mask of {mask.get('size')} pixels belongs to an image of {size} pixels"
        )
    try:
        area = float(rle.area(mask))
    except ValueError as error:
        raise UserError(f"{path}: a segmentation cannot be read ({error})") from error
    if area > size[0] * size[1]:
        raise UserError(f"{path}: a segmentation's run lengths are longer than its image")
