"""Images, index maps and outlines of masks, as the page embeds them."""

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as rle

#: Longer side of a picture in pixels.
LONGEST = 480

#: Quality of WebP.
QUALITY = 72

#: Pixels of a picture by which an outline may be off.
TOLERANCE = 0.6


class Pictures:
    """Pictures of the page in base64, each stored once and shared by all models.

    Attributes:
        texts: the pictures; others refer to them by their index.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._known: dict[object, int] = {}

    def photo(self, path: Path) -> int | None:
        """Index of an image, stored as WebP; None if it is missing, unreadable or too large."""
        if (known := self._known.get(path)) is not None:
            return known
        try:
            with Image.open(path) as image:
                small = image.convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError):
            return None
        return self._add_photo(path, small)

    def array(self, image: np.ndarray) -> int:
        """Index of an image ``(H, W, 3)``, uint8, RGB, stored as WebP."""
        photo = Image.fromarray(np.ascontiguousarray(image))
        return self._add_photo((photo.size, photo.tobytes()), photo)

    def _add_photo(self, key: object, photo: Image.Image) -> int:
        photo.thumbnail((LONGEST, LONGEST))
        return self._add(key, lambda file: photo.save(file, "WEBP", quality=QUALITY))

    def index_map(self, labels: np.ndarray) -> int:
        """Index of a map of class indices ``(H, W)``, uint8, stored as a grey PNG."""
        height, width = labels.shape
        scale = min(1.0, LONGEST / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = Image.fromarray(labels).resize(size, Image.Resampling.NEAREST)
        return self._add(
            (size, small.tobytes()), lambda file: small.save(file, "PNG", optimize=True)
        )

    def _add(self, key: object, save: Callable[[io.BytesIO], None]) -> int:
        if key not in self._known:
            file = io.BytesIO()
            save(file)
            self._known[key] = len(self.texts)
            self.texts.append(base64.b64encode(file.getvalue()).decode())
        return self._known[key]


def outline_of(mask: Mapping[str, Any]) -> str:
    """SVG path data of a mask in compressed run lengths.

    Closed polygons in pixels of the image, with holes (fill rule even-odd); ``''`` for an empty
    mask.
    """
    pixels = rle.decode(mask)
    # The border of zeros closes outlines at the image's edge; minus .5 makes centres of pixels of
    # the indices in the padded mask.
    contours, _ = cv2.findContours(np.pad(pixels, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    off = TOLERANCE * max(1.0, max(pixels.shape) / LONGEST)
    parts = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, off, closed=True)[:, 0] - 0.5
        parts.append("M" + "L".join(f"{x:g} {y:g}" for x, y in points.tolist()) + "z")
    return "".join(parts)
