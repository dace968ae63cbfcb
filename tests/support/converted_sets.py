"""YOLO and VOC sets by hand, and what their conversion finds."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from casvit_dense.data.description import DataDescription
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.convert import coco_content, materialise
from casvit_dense.data.layouts.describe import describe
from casvit_dense.options import LayoutOptions


def read(file: Path | None) -> dict[str, Any]:
    assert file is not None
    return json.loads(file.read_text())


def objects(content: dict[str, Any], crowds: bool = True) -> dict[str, list[Any]]:
    """Class and box (to a tenth of a pixel) of the objects of each image, by its name."""
    names = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    classes = {category["id"]: category["name"] for category in content["categories"]}
    found: dict[str, list[Any]] = {name: [] for name in names.values()}
    for a in content["annotations"]:
        if crowds or not a["iscrowd"]:
            box = [round(edge, 1) for edge in a["bbox"]]
            found[names[a["image_id"]]].append((classes[a["category_id"]], a["iscrowd"], box))
    return found


def converted(root: Path, out: Path, **options: Any) -> tuple[DataDescription, Findings]:
    findings = Findings()
    described = describe(root, LayoutOptions(**options), findings)
    return materialise(described, out, findings), findings


def yolo_set(root: Path, labels: dict[str, str], size: tuple[int, int] = (200, 100)) -> Path:
    """Images of 200 x 100 pixels with these labels, two classes."""
    for name, text in labels.items():
        for folder in ("images", "labels"):
            (root / folder / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(root / "images/train" / f"{name}.png")
        (root / "labels/train" / f"{name}.txt").write_text(text)
    (root / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    return root


def content_of(root: Path, **options: Any) -> tuple[dict[str, Any], Findings]:
    findings = Findings()
    described = describe(root, LayoutOptions(**options), findings)
    return coco_content(described, "train", findings), findings


def found_in(findings: Findings) -> list[tuple[str, list[str]]]:
    return [(found.kind.code, found.where) for found in findings.all()]
