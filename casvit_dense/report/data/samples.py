"""Samples of a data set: raw with their truth, or as a pipeline delivers them to the network."""

import random
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
from mmengine.registry import DATASETS
from mmengine.structures import BaseDataElement
from numpy.typing import NDArray
from pycocotools import mask as rle

from casvit_dense.config.dataset import ConfigDataset
from casvit_dense.config.read import first_cause
from casvit_dense.data.checks.images import short
from casvit_dense.files import short_path
from casvit_dense.progress import counted
from casvit_dense.report.data.truth import UNLABELLED, Shown, Truth, read_picture
from casvit_dense.report.gallery import GalleryImage
from casvit_dense.report.pictures import Pictures, outline_of

#: What a check found in an image, by the image's name.
Found = dict[str, list[tuple[str, str]]]

#: Least share of a picture's pixels of a region whose name is written.
NAMED = 0.02

#: Share of the samples that are images with findings.
FAULTY = 0.5


def choose(names: Sequence[str], found: Found, count: int) -> list[int]:
    """Indices of images, always the same: up to half with findings, the others by chance."""
    shuffled = random.Random(0).sample(range(len(names)), len(names))
    faulty = [i for i in shuffled if names[i] in found]
    kept = faulty[: max(round(FAULTY * count), count - (len(names) - len(faulty)))]
    rest = [i for i in shuffled if names[i] not in found]
    return kept + rest[: count - len(kept)]


class RawSamples:
    """Images as their files are."""

    def __init__(self, truth: Truth) -> None:
        self._truth, self.names = truth, truth.names

    def take(self, index: int, pictures: Pictures) -> GalleryImage:
        """One of them with its truth."""
        file = self._truth.folder / self.names[index]
        image = read_picture(file)
        shown = self._truth.shown(index)
        missing = "" if image is not None else f"{short_path(file)} is missing or damaged."
        return sample_of(self.names[index], image, missing, shown, pictures)


class PipelineSamples:
    """Images as a loader's pipeline delivers them: resized, flipped, cropped, as configured."""

    def __init__(self, dataset: ConfigDataset) -> None:
        """Builds the data set; the registries of its framework must be filled.

        Raises:
            Exception: whatever a data set raises whose files are faulty.
        """
        with redirect_stdout(StringIO()):  # pycocotools prints
            self._dataset = DATASETS.build(dataset.config)
        paths = [self._dataset.get_data_info(i)["img_path"] for i in range(len(self._dataset))]
        self.names = [short(Path(path), dataset.images) for path in paths]

    def take(self, index: int, pictures: Pictures) -> GalleryImage:
        """One of them as it comes out of the pipeline, always the same."""
        name = self.names[index]
        random.seed(index)
        np.random.seed(index)
        try:
            sample = self._dataset[index]
        except Exception as error:  # a pipeline may raise anything on a faulty file
            cause = first_cause(error)
            missing = f"{type(cause).__name__}: {cause}"
            return sample_of(name, None, missing, Shown([]), pictures)
        image = sample["inputs"].numpy()[::-1].transpose(1, 2, 0)  # to RGB
        data = sample["data_samples"]
        return sample_of(name, image.astype(np.uint8), "", _shown_of(data), pictures)


Samples = RawSamples | PipelineSamples


def _shown_of(data: BaseDataElement) -> Shown:
    """Truth that a pipeline delivers."""
    if "gt_sem_seg" in data:
        labels = data.gt_sem_seg.data[0].numpy()
        labels = np.where((labels >= 0) & (labels < UNLABELLED), labels, UNLABELLED)
        return Shown([], labels.astype(np.uint8))
    rows = []
    for crowd, part in enumerate(("gt_instances", "ignored_instances")):
        objects = data.get(part)
        if objects is None or not len(objects):
            continue
        boxes = getattr(objects.bboxes, "tensor", objects.bboxes).numpy()
        masks = objects.masks.to_ndarray() if "masks" in objects else [None] * len(boxes)
        for box, label, mask in zip(boxes.tolist(), objects.labels.tolist(), masks, strict=True):
            x1, y1, x2, y2 = (round(v, 1) for v in box)
            size = [round(x2 - x1, 1), round(y2 - y1, 1)]
            rows.append([label, x1, y1, *size, _outline(mask), crowd])
    return Shown(rows)


def _outline(mask: NDArray[np.uint8] | None) -> str:
    return "" if mask is None else outline_of(rle.encode(np.asfortranarray(mask)))


def sample_of(
    name: str,
    image: NDArray[np.uint8] | None,
    missing: str,
    shown: Shown,
    pictures: Pictures,
) -> GalleryImage:
    """A picture of the gallery; image ``(H, W, 3)``, RGB, None if it cannot be shown."""
    height, width = (3, 4) if image is None else image.shape[:2]
    rows, labels = shown
    truth = rows if labels is None else pictures.index_map(labels)
    about = [] if image is None else [f"{width} x {height}"]
    if labels is None:
        about.append(counted(len(rows), "object"))
    return GalleryImage(
        name=name,
        width=width,
        height=height,
        picture=None if image is None else pictures.array(image),
        missing=missing,
        why=[],
        score=", ".join(about),
        truth=truth,
        predictions=[] if labels is None else truth,
        names=[] if labels is None else name_spots(labels),
    )


def name_spots(labels: NDArray[np.uint8]) -> list[list[int]]:
    """Where the names of large regions are written: label, x and y of each region's widest spot."""
    counts = np.bincount(labels.ravel(), minlength=UNLABELLED + 1)
    spots = []
    for label in np.flatnonzero(counts[:UNLABELLED] >= NAMED * labels.size).tolist():
        # Zeros around the picture: its edge bounds a region, too.
        region = np.pad((labels == label).astype(np.uint8), 1)
        depth = cv2.distanceTransform(region, cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        spots.append([label, int(x), int(y)])
    return spots
