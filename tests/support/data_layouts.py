"""Generated shapes in the layouts that tools export, and sets of a picture or two by hand.

Any COCO set with ``annotations/instances_{train,val}2017.json`` can take the place of ``coco`` in
the folder of the shapes.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from hotcoco import COCO
from PIL import Image

from casvit_dense.data.description import DataDescription
from casvit_dense.data.shapes import ShapesSpec, annotation_file, generate_shapes, image_folders

SPLITS = ("train", "val")
#: Of the shapes; index maps have the background before them.
CLASSES = ["circle", "square", "triangle"]
MAP_CLASSES = ["background", *CLASSES]


def shapes(root: Path, train: int = 6, val: int = 4, size: int = 64) -> Path:
    """The generated set: ``coco`` and ``ade`` below ``root``."""
    generate_shapes(root, ShapesSpec(train=train, val=val, size=size))
    return root


def read_split(root: Path, split: str) -> dict[str, Any]:
    """Annotations of a split, its images called by the split, since their names repeat."""
    content = json.loads(annotation_file(root, split).read_text())
    for image in content["images"]:
        image["file_name"] = f"{split}_{image['file_name']}"
    return content


def copy_images(root: Path, split: str, target: Path) -> None:
    """The pictures of a split under the names of `read_split`."""
    target.mkdir(parents=True, exist_ok=True)
    for picture in image_folders(root, split)[0].iterdir():
        shutil.copy(picture, target / f"{split}_{picture.name}")


def write_json(file: Path, content: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def roboflow(root: Path, out: Path) -> Path:
    """``train`` and ``valid`` with images and file together, ids from 0, and a category 0."""
    for split, folder in zip(SPLITS, ("train", "valid"), strict=True):
        content = read_split(root, split)
        for category in content["categories"]:
            category["supercategory"] = "project"
        content["categories"].insert(0, {"id": 0, "name": "project", "supercategory": "none"})
        for number, annotation in enumerate(content["annotations"]):
            annotation["id"] = number
        write_json(out / folder / "_annotations.coco.json", content)
        copy_images(root, split, out / folder)
    return out


def one_file(root: Path, out: Path) -> Path:
    """One ``annotations.json`` and one folder ``images`` of all pictures."""
    both: dict[str, Any] = {"images": [], "annotations": []}
    for split in SPLITS:
        content = read_split(root, split)
        both["categories"] = content["categories"]
        images, objects = (
            max((record["id"] for record in both[kind]), default=-1) + 1
            for kind in ("images", "annotations")
        )
        for image in content["images"]:
            both["images"].append(image | {"id": image["id"] + images})
        for a in content["annotations"]:
            both["annotations"].append(
                a | {"id": a["id"] + objects, "image_id": a["image_id"] + images}
            )
        copy_images(root, split, out / "images")
    write_json(out / "annotations.json", both)
    return out


def yolo(root: Path, out: Path, polygons: bool = False) -> Path:
    """``data.yaml``, ``images/{train,val}`` and ``labels/{train,val}``; boxes by hotcoco."""
    for split in SPLITS:
        content = read_split(root, split)
        labels = out / "labels" / split
        file = write_json(out / "coco.json", content)
        COCO(str(file)).to_yolo(str(labels))
        file.unlink()
        (labels / "data.yaml").unlink()
        if polygons:
            write_polygons(content, labels)
        copy_images(root, split, out / "images" / split)
    names = "".join(f"  {n}: {c['name']}\n" for n, c in enumerate(content["categories"]))
    (out / "data.yaml").write_text(
        f"path: .\ntrain: images/train\nval: images/val\nnames:\n{names}"
    )
    return out


def write_polygons(content: dict[str, Any], labels: Path) -> None:
    """The longest outline of each object, as YOLO has one an object."""
    labels_by_id = {category["id"]: n for n, category in enumerate(content["categories"])}
    for image in content["images"]:
        lines = []
        for a in content["annotations"]:
            if a["image_id"] == image["id"] and not a["iscrowd"]:
                points = np.reshape(max(a["segmentation"], key=len), (-1, 2))
                parts = (points / (image["width"], image["height"])).ravel().tolist()
                label = labels_by_id[a["category_id"]]
                lines.append(f"{label} {' '.join(f'{v:.6f}' for v in parts)}\n")
        (labels / Path(image["file_name"]).with_suffix(".txt")).write_text("".join(lines))


def voc(root: Path, out: Path) -> Path:
    """``JPEGImages``, ``Annotations`` (by hotcoco) and ``ImageSets/Main/{train,val}.txt``."""
    lists = out / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for split in SPLITS:
        content = read_split(root, split)
        file = write_json(out / "coco.json", content)
        COCO(str(file)).to_voc(str(out))
        file.unlink()
        stems = [Path(image["file_name"]).stem for image in content["images"]]
        (lists / f"{split}.txt").write_text("\n".join(stems) + "\n")
        copy_images(root, split, out / "JPEGImages")
    (out / "labels.txt").unlink()
    return out


def camvid(root: Path, out: Path, ignore: int = 11) -> Path:
    """``train``, ``trainannot``, ``val``, ``valannot``; labels from 0, the frame is ``ignore``."""
    for split in SPLITS:
        copy_images(root, split, out / split)
        maps = out / f"{split}annot"
        maps.mkdir(parents=True)
        for file in image_folders(root, split)[2].iterdir():
            labels = np.array(Image.open(file)).astype(int)
            labels = np.where(labels == 0, ignore, labels - 1).astype(np.uint8)
            Image.fromarray(labels).save(maps / f"{split}_{file.name}")
    (out / "classes.txt").write_text("\n".join(MAP_CLASSES) + "\n")
    return out


def places(found: DataDescription, root: Path) -> dict[str, tuple[str, str]]:
    """Images and annotations of each split, relative to the set."""
    return {
        name: (
            split.images.relative_to(root).as_posix(),
            split.annotations.relative_to(root).as_posix() if split.annotations else "",
        )
        for name, split in found.splits.items()
    }


def picture(file: Path, size: int = 8) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((size, size, 3), np.uint8)).save(file)
    return file


def index_map(file: Path, size: int = 8) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((size, size), np.uint8)).save(file)
    return file


def coco(file: Path, *names: str, categories: tuple[str, ...] = ("cat", "dog")) -> Path:
    """A COCO file of images with one box each, of the first category."""
    return write_json(
        file,
        {
            "images": [
                {"id": n, "file_name": name, "width": 8, "height": 8}
                for n, name in enumerate(names, 1)
            ],
            "annotations": [
                {"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16}
                for n in range(1, len(names) + 1)
            ],
            "categories": [{"id": n, "name": name} for n, name in enumerate(categories, 1)],
        },
    )
