"""A small sound COCO set with pictures, to be spoilt by tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from casvit_dense.data.checks.coco import Use, check_coco
from casvit_dense.data.findings import Findings

Change = Callable[[dict[str, Any]], object]

#: Width and height of the pictures; no two alike and none square, so that nothing can be swapped.
SIZES = ((120, 90), (100, 140), (160, 110), (130, 95))
CLASSES = ("cat", "dog", "bird")


def rectangle(x: float, y: float, width: float, height: float) -> list[float]:
    """A polygon around a box."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def content() -> dict[str, Any]:
    """Four images with 16 objects of three classes, each a box with its polygon."""
    annotations: list[dict[str, Any]] = []
    for image in range(len(SIZES)):
        for k in range(4):
            box = [20 + 5 * k, 15 + 7 * k, 30 + 4 * k, 24 + 3 * image]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image + 1,
                    "category_id": (image + k) % 3 + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "segmentation": [rectangle(*box)],
                }
            )
    return {
        "info": {"description": "made by a test"},
        "images": [
            {"id": n, "file_name": f"{n:03}.png", "width": size[0], "height": size[1]}
            for n, size in enumerate(SIZES, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES, 1)],
    }


def write(root: Path, change: Change = lambda _: None, split: str = "train") -> Path:
    """Writes the set with a change in COCO's layout; returns the annotation file."""
    images = root / split
    images.mkdir(parents=True)
    for n, size in enumerate(SIZES, 1):
        Image.new("RGB", size, (40 * n, 90, 20)).save(images / f"{n:03}.png")
    made = content()
    change(made)
    file = root / "annotations" / f"{split}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(made), encoding="utf-8")
    return file


def found_in(root: Path, change: Change, use: Use | None = None) -> Findings:
    """What the check finds in the changed set."""
    findings = Findings()
    check_coco(write(root, change), "train", use or Use(classes=CLASSES), findings)
    return findings


def first(c: dict[str, Any]) -> dict[str, Any]:
    return c["annotations"][0]


def each(key: str, value: Any) -> Change:
    def change(c: dict[str, Any]) -> None:
        for record in c["annotations"]:
            record[key] = value

    return change


def set_box(place: int, value: Any) -> Change:
    return lambda c: first(c)["bbox"].__setitem__(place, value)
