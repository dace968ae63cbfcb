"""Pictures of a model: the best, the worst and some at random, with truth and predictions."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from casvit_dense.analysis.coco_arrays import (
    Detections,
    Outlines,
    Truth,
    read_detections,
    read_truth,
)
from casvit_dense.analysis.maps import map_pairs
from casvit_dense.analysis.records import Analysis, ImageScore
from casvit_dense.analysis.sources import CocoSource, MapSource, Source, read_metrics
from casvit_dense.data.description import IGNORE_LABEL
from casvit_dense.data.palette import Colour, palette_of
from casvit_dense.report.pictures import Pictures, outline_of
from casvit_dense.report.sources import is_within

#: Lowest score of detections in the page.
MIN_SCORE = 0.05

#: Most detections of one image in the page.
MAX_SHOWN = 40


@dataclass
class GalleryImage:
    """One image of a gallery; see ``overlay.js`` for the rows of truth and predictions.

    Attributes:
        name: file name.
        width, height: size of the image in pixels.
        picture: index of its picture, see `Pictures`; None if the image cannot be shown.
        missing: the message in that case.
        why: ``'worst'``, ``'best'`` or ``'random'``.
        score: score of the prediction, as text.
        truth, predictions: objects, or the index of a picture.
        names: class, x and y of names that are written into a map.
        findings: severity and text of what a check of the data found in it.
    """

    name: str
    width: int
    height: int
    picture: int | None
    missing: str
    why: list[str]
    score: str
    truth: Any
    predictions: Any
    names: list[list[int]] = field(default_factory=list)
    findings: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Gallery:
    """Images of one model with truth and predictions.

    Attributes:
        kind: ``'objects' | 'maps'``.
        classes: class names.
        palette: RGB of each class.
        threshold: initial lowest score.
        images: see `GalleryImage`.
        notes: notes for the reader.
        truth_only: there are no predictions, as in a page of data.
    """

    kind: str
    classes: list[str]
    palette: list[Colour]
    threshold: float
    images: list[GalleryImage]
    notes: list[str] = field(default_factory=list)
    truth_only: bool = False


def make_gallery(
    sources: Sequence[Source], analysis: Analysis, count: int, pictures: Pictures
) -> Gallery | None:
    """Chooses ``count`` images and collects what is on them; None if ``count`` is 0.

    Of boxes and masks, masks are shown. The best and worst images are those of the analysis.

    Raises:
        UserError: truth or predictions cannot be read.
    """
    source = sources[-1]
    if count == 0:
        return None
    if isinstance(source, MapSource):
        return _of_maps(source, analysis, count, pictures)
    return _of_objects(source, analysis, count, pictures)


def choose(
    best: Sequence[ImageScore], worst: Sequence[ImageScore], names: Sequence[str], count: int
) -> dict[str, tuple[str, ImageScore | None]]:
    """Chooses images: a third the worst, a third the best, the others at random.

    The random ones depend on the names alone, so models of one data set show the same.

    Returns:
        By file: the reason, and the score where it is known.
    """
    scores = {image.file: image for image in (*best, *worst)}
    chosen: dict[str, str] = {}
    share = count // 3
    for why, images in (("worst", worst), ("best", best)):
        new = [image.file for image in images if image.file not in chosen]
        chosen.update(dict.fromkeys(new[:share], why))
    shuffled = random.Random(0).sample(sorted(names), len(names))
    new = [name for name in shuffled if name not in chosen]
    chosen.update(dict.fromkeys(new[: count - len(chosen)], "random"))
    return {name: (why, scores.get(name)) for name, why in chosen.items()}


def _of_objects(source: CocoSource, analysis: Analysis, count: int, pictures: Pictures) -> Gallery:
    part = analysis.detection[source.kind]
    truth = read_truth(source.truth, source.kind, source.classes, source.indices)
    found = read_detections(source.predictions, source.kind, truth)
    index = {name: i for i, name in enumerate(truth.file_names)}
    chosen = choose(part.best, part.worst, truth.file_names, count)
    images = []
    for name, (why, score) in chosen.items():
        i = index[name]
        height, width = truth.sizes[i].tolist()
        picture, missing = _picture(pictures, source.images, name)
        images.append(
            GalleryImage(
                name=name,
                width=width,
                height=height,
                picture=picture,
                missing=missing,
                why=[why],
                score=_object_score(score),
                truth=_truth_rows(truth, np.flatnonzero(truth.image == i)),
                predictions=_prediction_rows(found, np.flatnonzero(found.image == i)),
            )
        )
    notes = []
    if len(found.score):
        notes.append(
            f"Of each image the {MAX_SHOWN} detections of highest score from {MIN_SCORE} on are "
            "here."
        )
    # The slider's steps are twentieths.
    threshold = min(max(round(part.operating_point.score * 20) / 20, MIN_SCORE), 0.95)
    classes = list(truth.classes)
    return Gallery("objects", classes, [], threshold, images, notes)


def _picture(pictures: Pictures, folder: Path | None, name: str) -> tuple[int | None, str]:
    """The picture of an image below the folder of images, and what to say if there is none."""
    if folder is None or not is_within(name):
        return None, f"The image {name} is not shown: it does not lie below the folder of images."
    missing = f"The image {folder / name} is not there any more, cannot be read or is too large."
    return pictures.photo(folder / name), missing


def _object_score(score: ImageScore | None) -> str:
    if score is None:
        return ""
    return (
        f"F1 {score.score:.2f}: {score.correct} found, {score.wrong} wrong, {score.missed} missed"
    )


def _truth_rows(truth: Truth, indices: np.ndarray) -> list[list[Any]]:
    return [
        [int(truth.label[i]), *_box_and_outline(truth.outlines, i), int(truth.crowd[i])]
        for i in indices.tolist()
    ]


def _prediction_rows(found: Detections, indices: np.ndarray) -> list[list[Any]]:
    kept = indices[found.score[indices] >= MIN_SCORE]
    kept = kept[np.argsort(-found.score[kept], kind="stable")][:MAX_SHOWN]
    return [
        [int(found.label[i]), round(float(found.score[i]), 3), *_box_and_outline(found.outlines, i)]
        for i in kept.tolist()
    ]


def _box_and_outline(outlines: Outlines, i: int) -> list[Any]:
    """Box and outline of an object; ``''`` for the outline of a box."""
    if isinstance(outlines, np.ndarray):
        return [*(round(v, 1) for v in outlines[i].tolist()), ""]
    return [*(round(v, 1) for v in rle.toBbox(outlines[i]).tolist()), outline_of(outlines[i])]


def _of_maps(source: MapSource, analysis: Analysis, count: int, pictures: Pictures) -> Gallery:
    assert analysis.maps is not None  # analysed from this source
    classes = list(source.classes)
    if len(classes) > IGNORE_LABEL:
        note = f"Pictures of maps with more than {IGNORE_LABEL} classes are not shown."
        return Gallery("maps", classes, [], 0, [], [note])
    maps = {source.image_of(truth): (truth, found) for found, truth in map_pairs(source)}
    chosen = choose(analysis.maps.best, analysis.maps.worst, list(maps), count)
    images = []
    for name, (why, score) in chosen.items():
        labels = [_class_indices(path, source) for path in maps[name]]
        height, width = labels[0].shape
        truth, predicted = map(pictures.index_map, labels)
        picture, missing = _picture(pictures, source.images, name)
        images.append(
            GalleryImage(
                name=name,
                width=width,
                height=height,
                picture=picture,
                missing=missing,
                why=[why],
                score="" if score is None else f"mean IoU {score.score:.1f}",
                truth=truth,
                predictions=predicted,
            )
        )
    return Gallery("maps", classes, _palette(source, len(classes)), 0, images)


def _class_indices(path: Path, source: MapSource) -> np.ndarray:
    """Class of every pixel, ``(H, W)``, uint8; `IGNORE_LABEL` for unlabelled ones."""
    with Image.open(path) as image:
        labels = np.asarray(image).astype(int) - int(source.reduce_zero_label)
    labels[(labels < 0) | (labels >= len(source.classes))] = IGNORE_LABEL
    return labels.astype(np.uint8)


def _palette(source: MapSource, count: int) -> list[Colour]:
    """The data set's own colours, if it has some."""
    dataset = read_metrics(source.predictions.parent).conditions.dataset
    return palette_of((dataset.metainfo or {}).get("palette"), count)
