"""Pictures inside the page: small, and each only once."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

LONGEST = 480  # pixels of the longer side
QUALITY = 72  # of WebP


class Pictures:
    """Base64 texts of pictures, by number.

    Models that were evaluated on the same images share them.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._known: dict[object, int] = {}

    def photo(self, path: Path) -> int | None:
        """The number of an image, as WebP; None if it is missing, unreadable or too large."""
        if (known := self._known.get(path)) is not None:
            return known
        try:
            with Image.open(path) as image:
                small = image.convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError):
            return None
        small.thumbnail((LONGEST, LONGEST))
        return self._add(path, lambda file: small.save(file, "WEBP", quality=QUALITY))

    def index_map(self, labels: np.ndarray) -> int:
        """The number of a map of class indices ``(H, W)``, uint8, as a grey PNG."""
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
