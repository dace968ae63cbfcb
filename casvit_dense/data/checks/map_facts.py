"""Facts of index maps: size, channels, and how many pixels have each label."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image, ImageChops

from casvit_dense.data.checks.file_cache import look_at
from casvit_dense.data.checks.image_facts import ImageFacts, open_file

#: Pillow's names for one whole number a pixel, of 8 bits at most.
BYTES: Final = ("L", "P", "1")
#: Beginnings of its names for larger ones.
INTEGERS: Final = "I"
COLOURS: Final = ("RGB", "RGBA")


class MapFacts(NamedTuple):
    """What a map holds.

    Attributes:
        problem: what is wrong with the file, in words, or empty.
        format, mode: Pillow's names of the file's format and of its channels.
        width, height: in pixels.
        labels: pixels of each label; empty if a pixel is not one whole number.
        grey: pixels are red, green and blue, which are equal in all.
    """

    problem: str = ""
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    labels: tuple[tuple[int, int], ...] = ()
    grey: bool = False


def map_facts(paths: Iterable[Path]) -> dict[Path, MapFacts]:
    """The facts of many maps, from the cache or by all cores."""
    found = look_at(paths, read_map, "map", "map")
    return {path: MapFacts(*facts) for path, facts in found.items()}


def read_map(path: str) -> MapFacts:
    """Decodes a map as training does: by Pillow, the numbers of a palette rather than colours."""
    found = open_file(path)
    if isinstance(found, ImageFacts):
        return MapFacts(str(found))
    with found as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of large or odd images
        try:
            image = Image.open(file)
        except Image.DecompressionBombError:
            return MapFacts("is larger than Pillow reads")
        except Exception:  # damaged headers raise many kinds
            return MapFacts("is not an image")
        try:
            labels = _labels(image)
        except Exception as error:  # damaged pixels, too
            return MapFacts(f"is truncated or damaged ({error})")
    grey = image.mode in COLOURS and _is_grey(image)
    return MapFacts("", image.format or "", image.mode, *image.size, labels, grey)


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = image.split()[:3]
    return all(ImageChops.difference(red, other).getbbox() is None for other in (green, blue))


def _labels(image: Image.Image) -> tuple[tuple[int, int], ...]:
    image.load()
    if image.mode in BYTES:
        counts = image.histogram()  # a hundred times as fast as numpy's unique
        if image.mode == "1":  # Pillow counts 255, a loader sees 1
            counts = [counts[0], counts[255]]
        return tuple((label, count) for label, count in enumerate(counts) if count)
    if image.mode.startswith(INTEGERS):
        import numpy as np

        values, counts = np.unique(np.asarray(image), return_counts=True)
        return tuple(zip(values.tolist(), counts.tolist(), strict=True))
    return ()
