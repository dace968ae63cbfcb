"""The analysis of index maps. Areas and their means are those of mmseg's ``IoUMetric``."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from casvit_dense.analysis.detection import ranked
from casvit_dense.analysis.matching import mean_over_classes
from casvit_dense.analysis.records import (
    ClassOverlap,
    Confusion,
    ImageScore,
    MapAnalysis,
    none_if_nan,
)
from casvit_dense.analysis.sources import LOG_INTERVAL, Log, MapSource, no_log
from casvit_dense.data.description import IGNORE_LABEL
from casvit_dense.errors import UserError, shortlist
from casvit_dense.progress import Progress


@dataclass(frozen=True)
class Pixels:
    """Counted pixels of N images and C classes.

    Attributes:
        names: of the images.
        files: of the images, relative to their folder.
        classes: names.
        confusion: ``(C, C)``, truth by prediction, all images together.
        both, truth, predicted: ``(N, C)``, of each image: pixels where truth and prediction are
            the class, where the truth is, where the prediction is.
    """

    names: tuple[str, ...]
    files: tuple[str, ...]
    classes: tuple[str, ...]
    confusion: np.ndarray
    both: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray


def count_pixels(source: MapSource, log: Log = no_log) -> Pixels:
    """Reads all maps.

    Raises:
        UserError: a map is missing, unreadable, of another size than its truth, or holds a label
            that no class stands for.
    """
    classes = len(source.classes)
    pairs = map_pairs(source)
    total = np.zeros((classes, classes), int)
    areas = np.zeros((3, len(pairs), classes), int)
    tracked = Progress("map", len(pairs), LOG_INTERVAL).track(pairs, log)
    for i, (predicted, truth) in enumerate(tracked):
        counts = _confusion_of(predicted, truth, classes, source)
        total += counts
        areas[:, i] = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    files = tuple(source.image_of(truth) for _, truth in pairs)
    names = tuple(_name(predicted, source.predictions, ".png") for predicted, _ in pairs)
    return Pixels(names, files, source.classes, total, *areas)


def map_pairs(source: MapSource) -> list[tuple[Path, Path]]:
    """Predicted maps by name, each with its truth."""
    for folder in (source.predictions, source.truth):
        if not folder.is_dir():
            raise UserError(f"no folder of maps {folder}{source.hint}")
    suffix = source.truth_suffix
    truths = {_name(p, source.truth, suffix): p for p in source.truth.rglob(f"*{suffix}")}
    maps = sorted(source.predictions.rglob("*.png"))
    names = [_name(path, source.predictions, ".png") for path in maps]
    alone: dict[str, str | None] = {}  # name without folders -> the whole one, None: of several
    for name in truths:
        stem = name.rpartition("/")[2]
        alone[stem] = None if stem in alone else name
    found = [name if name in truths else alone.get(name.rpartition("/")[2], "") for name in names]
    if None in found:
        name = names[found.index(None)]
        raise UserError(f"{source.truth}: several maps have the name {name}; predict with folders")
    strange = [name for name, truth in zip(names, found, strict=True) if not truth]
    if strange:
        raise UserError(
            f"{source.predictions}: {len(strange)} of {len(maps)} maps have no truth in "
            f"{source.truth}: {shortlist(strange)}{source.hint}"
        )
    expected = len(truths) if source.count is None else source.count
    if len(maps) != expected:
        raise UserError(f"{source.predictions}: holds {len(maps)} maps for {expected} images")
    return [(path, truths[name]) for path, name in zip(maps, found, strict=True) if name]


def _name(path: Path, folder: Path, suffix: str) -> str:
    """A map's path below its folder, without the suffix."""
    return path.relative_to(folder).as_posix().removesuffix(suffix)


def _confusion_of(predicted: Path, truth: Path, classes: int, source: MapSource) -> np.ndarray:
    found, labels = _read_map(predicted), _read_map(truth)
    if found.shape != labels.shape:
        raise UserError(f"{predicted} is {found.shape} pixels large, its truth {labels.shape}")
    first = int(source.reduce_zero_label)
    counted = (labels != IGNORE_LABEL) & (labels != source.ignore_label) & (labels >= first)
    found, labels = found[counted].astype(int) - first, labels[counted].astype(int) - first
    for path, values in ((truth, labels), (predicted, found)):
        outside = np.unique(values[(values < 0) | (values >= classes)]) + first
        if len(outside):
            raise UserError(
                f"{path}: holds label(s) {shortlist(outside.tolist())}; {classes} classes are "
                f"numbered from {first}. Files where 0 means unlabelled need reduce_zero_label"
            )
    return np.bincount(labels * classes + found, minlength=classes**2).reshape(classes, classes)


def _read_map(path: Path) -> np.ndarray:
    # Pillow refuses images above 179 megapixels with DecompressionBombError.
    try:
        labels = np.asarray(Image.open(path))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image ({error})") from error
    if labels.ndim != 2:
        raise UserError(f"{path}: has {labels.shape[-1]} channels; a map holds one index per pixel")
    return labels


def overlaps(pixels: Pixels, weights: np.ndarray) -> np.ndarray:
    """IoU of every class when every image counts a given number of times.

    Args:
        pixels: of N images and C classes.
        weights: ``(B, N)``, B ways to count the images.

    Returns:
        ``(B, C)``, percent; NaN for a class that neither occurs nor is predicted.
    """
    both = weights @ pixels.both
    return _percent(both, weights @ (pixels.truth + pixels.predicted) - both)


def image_overlaps(pixels: Pixels) -> np.ndarray:
    """Mean IoU of each image, ``(N,)``, percent, over the classes that occur in it."""
    return mean_over_classes(_percent(pixels.both, pixels.truth + pixels.predicted - pixels.both))


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return 100 * part / np.where(whole, whole, np.nan)


def analyse_maps(pixels: Pixels) -> MapAnalysis:
    """Everything that `MapAnalysis` holds."""
    everything = np.ones((1, len(pixels.names)), int)
    iou = overlaps(pixels, everything)[0]
    truth = pixels.truth.sum(axis=0)
    acc = _percent(pixels.both.sum(axis=0), truth)
    columns = zip(pixels.names, pixels.files, image_overlaps(pixels).tolist(), strict=True)
    images = [ImageScore(*row) for row in columns if not np.isnan(row[2])]
    return MapAnalysis(
        images=len(pixels.names),
        pixels=int(truth.sum()),
        miou=none_if_nan(mean_over_classes(iou).item()),
        macc=none_if_nan(mean_over_classes(acc).item()),
        aacc=none_if_nan(_percent(pixels.both.sum(), truth.sum()).item()),
        classes=[
            ClassOverlap(name, int(area), none_if_nan(i), none_if_nan(a))
            for name, area, i, a in zip(pixels.classes, truth, iou, acc, strict=True)
        ],
        confusion=Confusion(list(pixels.classes), pixels.confusion.tolist()),
        best=ranked(images, best=True),
        worst=ranked(images, best=False),
    )
