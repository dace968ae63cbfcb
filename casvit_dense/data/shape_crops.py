"""The generated shapes one by one, in a folder for each class, to classify them."""

import json
import tempfile
from pathlib import Path
from typing import Any, Final

import cv2

from casvit_dense.data.shapes import SPLITS, annotation_file, encode_png, image_folders

#: Folder below that of the shapes.
CROPS: Final = "classes"
#: Side of the pictures in pixels; share of a shape's larger side that is around it.
SIDE, MARGIN = 64, 0.15


def cut_shapes(root: Path) -> Path:
    """Cuts every shape of a generated data set out, unless that was done.

    Writes ``classes/{train,val}/<class>/<image>_<annotation>.png`` below ``root``: squares around
    the boxes, crowd regions left out. The folder appears whole or not at all.

    Returns:
        The folder.
    """
    target = root / CROPS
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{CROPS}-") as scratch:
        unfinished = Path(scratch) / CROPS
        for split in SPLITS:
            content = json.loads(annotation_file(root, split).read_text())
            names = {one["id"]: one["name"] for one in content["categories"]}
            files = {one["id"]: one["file_name"] for one in content["images"]}
            for name in names.values():
                (unfinished / split / name).mkdir(parents=True)
            for one in content["annotations"]:
                if one["iscrowd"]:
                    continue
                file = image_folders(root, split)[0] / files[one["image_id"]]
                folder = unfinished / split / names[one["category_id"]]
                cut = crop(cv2.imread(str(file)), one["bbox"])
                (folder / f"{file.stem}_{one['id']}.png").write_bytes(encode_png(cut))
        unfinished.rename(target)
    return target


def crop(image: Any, box: list[int]) -> Any:
    """The square around a box, ``(SIDE, SIDE, 3)``; what is outside of the image is mirrored."""
    x, y, width, height = box
    side = round(max(width, height) * (1 + 2 * MARGIN))
    left, top = x + (width - side) // 2, y + (height - side) // 2
    padded = cv2.copyMakeBorder(image, side, side, side, side, cv2.BORDER_REFLECT_101)
    cut = padded[top + side : top + 2 * side, left + side : left + 2 * side]
    return cv2.resize(cut, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
