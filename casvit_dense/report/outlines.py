"""Masks as outlines that a browser can draw."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as rle

#: Pixels, on a picture of 480, by which an outline may be off.
TOLERANCE = 0.6
SHOWN_SIDE = 480


def outline_of(mask: Mapping[str, Any]) -> str:
    """SVG path data of a mask.

    Args:
        mask: compressed run lengths.

    Returns:
        Closed polygons in pixels of the image, holes among them (fill rule even-odd); ``''`` for
        an empty mask.
    """
    pixels = rle.decode(mask)
    # With a border of zeros every outline closes inside; pixels' corners, not their centres.
    found, _ = cv2.findContours(np.pad(pixels, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    off = TOLERANCE * max(1.0, max(pixels.shape) / SHOWN_SIDE)
    parts = []
    for contour in found:
        points = cv2.approxPolyDP(contour, off, closed=True)[:, 0] - 0.5
        parts.append("M" + "L".join(f"{x:g} {y:g}" for x, y in points.tolist()) + "z")
    return "".join(parts)
