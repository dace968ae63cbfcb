"""A clean COCO set by hand, to be spoilt, and the copy that is made of it."""

import hashlib
import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from casvit_dense.data.checks.check import check_path
from casvit_dense.data.findings import Findings
from casvit_dense.data.fixes.changes import Changes
from casvit_dense.data.fixes.fix import fix
from casvit_dense.data.layouts.describe import describe

Content = dict[str, Any]


NAN = float("nan")


def box(number: int, image: int, x: int, y: int, w: int, h: int, category: int = 1) -> Content:
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [x, y, w, h],
        "area": w * h,
        "iscrowd": 0,
        "segmentation": [polygon],
    }


#: Three images of 60x40; objects of known boxes.
CLEAN: Content = {
    "images": [{"id": n, "file_name": f"{n}.png", "width": 60, "height": 40} for n in (1, 2, 3)],
    "annotations": [
        box(1, 1, 4, 6, 20, 10),
        box(2, 1, 30, 10, 25, 25, category=2),
        box(3, 2, 0, 0, 60, 40),
        box(4, 3, 10, 20, 30, 15),
    ],
    "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "pot"}],
}


def write(root: Path, content: Any = CLEAN) -> Path:
    (root / "annotations").mkdir(parents=True)
    (root / "train").mkdir()
    random = np.random.default_rng(0)
    for n in (1, 2, 3):
        pixels = random.integers(0, 255, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(root / "train" / f"{n}.png")
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "annotations/instances_train.json").write_text(text)
    return root


def state(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def run(source: Path, out: Path) -> Changes:
    """Fixes, and holds what is true of every copy."""
    before = state(source)
    changes = fix(describe(source), out, log=lambda line: None)
    assert state(source) == before
    findings = Findings()
    check_path(out, findings)
    assert findings.errors() == []
    listed = json.loads((out / "changes.json").read_bytes())
    assert len(listed["changes"]) == len(changes.made)
    return changes


def fixed(tmp_path: Path, content: Any) -> tuple[Content, list[str]]:
    changes = run(write(tmp_path / "source", content), tmp_path / "out")
    result = json.loads((tmp_path / "out/annotations/instances_train.json").read_bytes())
    names = sorted(image["file_name"] for image in result["images"])
    assert sorted(path.name for path in (tmp_path / "out/train").iterdir()) == names
    return result, [change.what for change in changes.made]


def changed(edit: Callable[[Content], object]) -> Content:
    content = deepcopy(CLEAN)
    edit(content)
    return content


def set_all(content: Content, kind: str, **values: Any) -> None:
    for record in content[kind]:
        for key, value in values.items():
            record[key] = value(record) if callable(value) else value


def first(**values: Any) -> Callable[[Content], object]:
    return lambda content: content["annotations"][0].update(values)
