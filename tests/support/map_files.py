"""A small sound set of images and index maps, to be spoilt by tests."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from casvit_dense.data.checks.maps import check_maps
from casvit_dense.data.description import DataDescription, Split
from casvit_dense.data.findings import Findings

CLASSES = ["sky", "road", "tree"]


SIZE = (16, 12)  # width and height


def labels(number: int) -> Any:
    """A map of all three classes and of pixels to ignore."""
    array = np.random.default_rng(number).integers(0, 3, SIZE[::-1]).astype(np.uint8)
    array[0, :4] = 0, 1, 2, 255
    return array


def write_set(root: Path, count: int = 4) -> None:
    """The last image lies in a folder."""
    for number in range(count):
        name = f"{number}.png" if number < count - 1 else f"more/{number}.png"
        for kind in ("images", "maps"):
            (root / kind / name).parent.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(number).integers(0, 255, (*SIZE[::-1], 3))
        Image.fromarray(picture.astype(np.uint8)).save(root / "images" / name)
        Image.fromarray(labels(number)).save(root / "maps" / name)


def described(root: Path, split: dict[str, Path] | None = None, **more: Any) -> DataDescription:
    folders = {"images": root / "images", "annotations": root / "maps", **(split or {})}
    usual = {"classes": CLASSES, "image_suffix": ".png", **more}
    splits = {"train": Split(**folders)}
    return DataDescription(task="segmentation", layout="maps", splits=splits, **usual)


def check(description: DataDescription, **options: Any) -> Findings:
    findings = Findings()
    check_maps(description.splits["train"], description, "train", findings, **options)
    return findings
