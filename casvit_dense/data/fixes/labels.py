"""Index maps of maps that hold colours: of grey ones, or by the colours of the classes."""

from pathlib import Path

import numpy as np
from PIL import Image

from casvit_dense.data.checks.map_facts import map_facts
from casvit_dense.data.description import DataDescription


def can_be_labels(label_map: Path, description: DataDescription) -> bool:
    """Whether the labels of a map of several channels are known."""
    return map_facts([label_map])[label_map].grey or bool(description.colours)


def write_labels(source: Path, target: Path, description: DataDescription) -> int:
    """Writes the index map of such a map.

    Returns:
        How many of its pixels have a colour of no class: they do not count.
    """
    with Image.open(source) as image:
        pixels = np.asarray(image.convert("RGB"))
    if description.colours:
        labels = np.full(pixels.shape[:2], description.ignore_label, np.uint8)
        known = np.zeros(pixels.shape[:2], bool)
        for label, colour in enumerate(description.colours):
            here = (pixels == colour).all(axis=-1)
            labels[here], known = label, known | here
    else:
        labels, known = pixels[..., 0], np.ones(pixels.shape[:2], bool)
    target.unlink(missing_ok=True)  # a link to the source
    Image.fromarray(labels).save(target)
    return int((~known).sum())
