"""Checks of a segmentation data set of images and index maps."""

from pathlib import Path

import numpy as np
from PIL import Image

from casvit_dense.errors import UserError, shortlist

IGNORE = 255
SAMPLE = 32  # maps whose labels are read


def check_maps(
    image_dir: Path,
    map_dir: Path,
    num_classes: int,
    reduce_zero_label: bool,
    image_suffix: str = ".jpg",
    map_suffix: str = ".png",
) -> int:
    """Pairs images with maps and reads the labels of a sample of them.

    Args:
        image_dir: folder of the images, searched in depth.
        map_dir: folder of the index maps, same relative names.
        reduce_zero_label: label 0 means unlabelled and classes count from 1.

    Returns:
        Number of images.

    Raises:
        UserError: missing folder or map, no image, a map that is not an index map, or a label
            that no class of the head has.
    """
    for folder in (image_dir, map_dir):
        if not folder.is_dir():
            raise UserError(f"no folder {folder}; --data-root names the data set's folder")
    names = sorted(
        str(path.relative_to(image_dir))[: -len(image_suffix)]
        for path in image_dir.rglob(f"*{image_suffix}")
    )
    if not names:
        raise UserError(f"{image_dir}: no image ends in {image_suffix}")
    maps = [map_dir / (name + map_suffix) for name in names]
    missing = [str(path) for path in maps if not path.is_file()]
    if missing:
        raise UserError(f"{len(missing)} of {len(maps)} images have no map: {shortlist(missing)}")
    for i in range(0, len(maps), max(1, len(maps) // SAMPLE)):
        _check_labels(maps[i], num_classes, reduce_zero_label)
        _check_sizes(image_dir / (names[i] + image_suffix), maps[i])
    return len(names)


def _check_sizes(image: Path, label_map: Path) -> None:
    try:
        sizes = [Image.open(path).size for path in (image, label_map)]
    except OSError as error:
        raise UserError(f"{image}: not a readable image ({error})") from error
    if sizes[0] != sizes[1]:
        raise UserError(f"{label_map}: is {sizes[1]} pixels large, its image {image} {sizes[0]}")


def _check_labels(path: Path, num_classes: int, reduce_zero_label: bool) -> None:
    try:
        labels = np.asarray(Image.open(path))
    except OSError as error:
        raise UserError(f"{path}: not a readable image ({error})") from error
    if labels.ndim != 2:
        raise UserError(
            f"{path}: has {labels.shape[-1]} channels; a map holds one class index per pixel "
            "(is this the colour-coded release?)"
        )
    highest = num_classes if reduce_zero_label else num_classes - 1
    strange = sorted(int(v) for v in np.unique(labels) if highest < v != IGNORE)
    if strange:
        first = "0 (unlabelled), 1" if reduce_zero_label else "0"
        raise UserError(
            f"{path}: holds label(s) {shortlist(strange)}, but the head has "
            f"{num_classes} classes: {first} to {highest} and {IGNORE} (ignored) are allowed. "
            "ADE20K must be the SceneParsing release (ADEChallengeData2016)"
        )
