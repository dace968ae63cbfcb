"""What the files of a data set say of every image: its objects, or its map of classes."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as rle

from casvit_dense.data.checks.map_facts import MapFacts, map_facts
from casvit_dense.data.coco_file import Annotation, open_coco
from casvit_dense.data.coco_masks import MaskFaultError, RunLengths, is_empty, read_mask
from casvit_dense.data.description import DataDescription, Split
from casvit_dense.data.map_pairs import image_stems
from casvit_dense.errors import UserError
from casvit_dense.files import short_path
from casvit_dense.predictor.images import read_image
from casvit_dense.report.pictures import outline_of

#: Value of pixels without a class in pictures of maps.
UNLABELLED = 255


class Shown(NamedTuple):
    """What is drawn over an image, in pixels of it.

    Attributes:
        rows: objects as ``overlay.js`` takes them: label, x, y, width, height, outline, crowd.
        labels: class of every pixel ``(H, W)``, uint8, `UNLABELLED` without one; None: no map.
    """

    rows: list[list[Any]]
    labels: NDArray[np.uint8] | None = None


class CocoTruth:
    """Objects of a COCO file whose boxes can be drawn.

    Attributes:
        sizes: ``(I, 2)``, width and height of the images by their records, NaN where there is none.
        image: ``(N,)``, index of each object's image.
        label: ``(N,)``, index of each object's class.
        boxes: ``(N, 4)``, x, y, width, height in pixels.
        crowd: ``(N,)``.
    """

    def __init__(self, split: Split, classes: list[str]) -> None:
        """Reads the file.

        Raises:
            UserError: it cannot be read as a COCO file.
        """
        file = open_coco(split.truth)
        self.folder = split.images
        images = [image for image in file.images if isinstance(image.file_name, str)]
        self.names = [image.file_name for image in images]
        self.sizes = np.array([_numbers([image.width, image.height], 2) for image in images])
        self.sizes = self.sizes.reshape(-1, 2)
        rows = {_key(image.id): row for row, image in enumerate(images)}
        labels = {
            _key(category.id): classes.index(category.name)
            for category in file.categories
            if category.name in classes
        }
        self._objects: list[Annotation] = []
        found = []
        for one in file.annotations or ():
            row, label = rows.get(_key(one.image_id)), labels.get(_key(one.category_id))
            box = _numbers(one.bbox, 4)
            if row is not None and label is not None and np.isfinite(box).all():
                self._objects.append(one)
                found.append((row, label, one.iscrowd in (1, True), *box))
        table = np.array(found, float).reshape(-1, 7)
        self.image, self.label = table[:, 0].astype(int), table[:, 1].astype(int)
        self.crowd, self.boxes = table[:, 2].astype(bool), table[:, 3:]

    def shown(self, index: int) -> Shown:
        """The objects of one image."""
        return Shown(
            [
                [
                    int(self.label[i]),
                    *(round(v, 1) for v in self.boxes[i].tolist()),
                    _outline(self._objects[i]),
                    int(self.crowd[i]),
                ]
                for i in np.flatnonzero(self.image == index).tolist()
            ]
        )

    def aliases(self, index: int) -> tuple[str, ...]:
        """Further names by which a check may call an image."""
        return (str(short_path(self.folder / self.names[index])),)


def _key(value: object) -> object:
    """A JSON value that can be looked up; lists and objects refer to nothing."""
    return None if isinstance(value, (list, dict, float)) else value


def _numbers(values: object, count: int) -> list[float]:
    """Numbers of a list, NaN for what is none."""
    if not isinstance(values, list) or len(values) != count:
        return [np.nan] * count
    return [float(v) if type(v) in (int, float) and abs(v) < 1e9 else np.nan for v in values]


def _outline(annotation: Annotation) -> str:
    """SVG path data of a mask; ``''`` without a usable one."""
    if is_empty(annotation.segmentation):
        return ""
    try:
        mask = read_mask(annotation.segmentation)
        if isinstance(mask, RunLengths):
            size, counts = list(mask.size), mask.counts
            return outline_of(rle.frPyObjects({"size": size, "counts": counts}, *size))
    except MaskFaultError:
        return ""
    parts = []
    for polygon in mask:
        points = [f"{x:g} {y:g}" for x, y in zip(polygon[::2], polygon[1::2], strict=True)]
        parts.append(f"M{'L'.join(points)}z")
    return "".join(parts)


class MapTruth:
    """Images and index maps."""

    def __init__(self, split: Split, description: DataDescription) -> None:
        """Lists the images.

        Raises:
            UserError: there is none, or the list of images or the folder cannot be read.
        """
        self.folder, self._maps = split.images, split.annotations
        self._about = description
        suffix = description.image_suffix
        self.names = [stem + suffix for stem in image_stems(split, suffix)]
        if not self.names:
            raise UserError(f"{self.folder}: no image ends in {suffix}")

    def labels(self, index: int) -> NDArray[np.uint8] | None:
        """Class of every pixel of an image ``(H, W)``; None without a map that can be read."""
        try:
            with Image.open(self._map_of(index)) as image:
                labels = np.asarray(image).astype(int)
        except (OSError, ValueError, Image.DecompressionBombError):
            return None
        if labels.ndim != 2:
            return None
        known, place = np.unique(labels, return_inverse=True)
        classes = np.array([self.class_of(label) for label in known.tolist()], np.uint8)
        return classes[place].reshape(labels.shape)

    def shown(self, index: int) -> Shown:
        """The map of one image."""
        return Shown([], self.labels(index))

    def aliases(self, index: int) -> tuple[str, ...]:
        """Further names by which a check may call an image: those of its map."""
        image = self.folder / self.names[index]
        label_map = self._map_of(index)
        return str(short_path(image)), str(label_map.relative_to(self._maps or Path()))

    def _map_of(self, index: int) -> Path:
        name = self.names[index].removesuffix(self._about.image_suffix)
        return (self._maps or Path()) / (name + self._about.map_suffix)

    def facts(self) -> list[MapFacts]:
        """What every map holds; those that cannot be read have no labels."""
        return list(map_facts(self._map_of(i) for i in range(len(self.names))).values())

    def class_of(self, label: int) -> int:
        """The class that a label means, `UNLABELLED` for none."""
        zero = self._about.reduce_zero_label
        if label == self._about.ignore_label or not 0 <= label - zero < len(self._about.classes):
            return UNLABELLED
        return min(label - zero, UNLABELLED)


Truth = CocoTruth | MapTruth


def truth_of(description: DataDescription, split: Split) -> Truth:
    """Reads the truth of a split.

    Raises:
        UserError: it has none, or it cannot be read.
    """
    if description.task == "segmentation":
        return MapTruth(split, description)
    return CocoTruth(split, description.classes)


def image_sizes(truth: Truth) -> list[tuple[int, int]]:
    """Width and height of images by their records, or of maps by their files."""
    if isinstance(truth, CocoTruth):
        known = truth.sizes[np.isfinite(truth.sizes).all(1)]
        return [(int(w), int(h)) for w, h in known.tolist() if w >= 1 and h >= 1]
    return [(found.width, found.height) for found in truth.facts() if found.width]


def read_picture(file: Path) -> NDArray[np.uint8] | None:
    """An image ``(H, W, 3)``, RGB, as the loaders read it; None if it cannot be read."""
    try:
        return read_image(file)[..., ::-1]
    except UserError:
        return None
