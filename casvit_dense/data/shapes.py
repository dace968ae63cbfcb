"""The generated data set of the demo: one set of pictures in COCO and in ADE20K layout."""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from casvit_dense.data.scene import SHAPES, Mask, Region, Scene, draw_scene, outlines
from casvit_dense.errors import UserError

#: Increased with every change of the pictures or labels, so that old folders are not reused.
VERSION = 1

MANIFEST = "shapes.json"

#: Split: its name in COCO's folders and in ADE20K's.
SPLITS = {"train": ("train2017", "training"), "val": ("val2017", "validation")}

UNLABELLED = 0
BACKGROUND = 1
FIRST_SHAPE = 2  # value of ``SHAPES[0]`` in an index map

MAX_OBJECTS = 6


@dataclass(frozen=True)
class ShapesSpec:
    """What determines the data set, bit for bit.

    Attributes:
        train, val: pictures in each split.
        size: side of the square pictures in pixels.
        border: width in pixels of the unlabelled frame of the index maps.
        seed: of the random generator; a picture depends on seed, split and its own number only.
    """

    train: int = 320
    val: int = 60
    size: int = 160
    border: int = 3
    seed: int = 0


def generate_shapes(root: Path, spec: ShapesSpec | None = None) -> bool:
    """Makes the data set unless it exists already.

    Writes below ``root``: ``coco/{train,val}2017/*.png``,
    ``coco/annotations/instances_{train,val}2017.json`` (polygons along pixel edges; crowd regions
    as run lengths), ``ade/images/{training,validation}/*.png`` (the same pictures),
    ``ade/annotations/{training,validation}/*.png`` (0 unlabelled, 1 background, 2 circle,
    3 square, 4 triangle) and ``shapes.json``, which describes the rest. Every 20th picture has no
    object, every 10th a crowd region. The folder appears whole or not at all.

    Args:
        root: folder to make; may exist if empty.
        spec: what to make; the demo's data set by default.

    Returns:
        True if written now, False if the same data set was there.

    Raises:
        UserError: ``root`` holds other files, or only a part of the data set.
    """
    spec = spec or ShapesSpec()
    if root.exists() and not root.is_dir():
        raise UserError(f"{root}: is a file; choose a folder")
    if root.is_dir() and any(root.iterdir()):
        check_reusable(root, spec)
        return False
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as scratch:
        unfinished = Path(scratch) / root.name
        for split in SPLITS:
            write_split(unfinished, split, spec)
        write_json(unfinished / MANIFEST, describe(spec))
        try:
            unfinished.rename(root)
        except OSError:
            if not root.exists():
                raise
            check_reusable(root, spec)  # another process was faster
            return False
    return True


def describe(spec: ShapesSpec) -> dict[str, Any]:
    """Contents of the manifest."""
    return {"version": VERSION, **asdict(spec), "classes": list(SHAPES)}


def check_reusable(root: Path, spec: ShapesSpec) -> None:
    """Raises UserError unless ``root`` holds exactly the data set of ``spec``."""
    remedy = "remove the folder or choose another"
    try:
        found = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{root}: holds files, but no generated shapes; {remedy}") from None
    if found != describe(spec):
        raise UserError(f"{root}: holds shapes of another make ({found}); {remedy}")
    for split in SPLITS:
        wanted = getattr(spec, split)
        for folder in image_folders(root, split):
            count = len(list(folder.glob("*.png")))
            if count != wanted:
                raise UserError(f"{folder}: {count} pictures, expected {wanted}; {remedy}")
        if not annotation_file(root, split).is_file():
            raise UserError(f"{annotation_file(root, split)}: missing; {remedy}")


def image_folders(root: Path, split: str) -> tuple[Path, Path, Path]:
    """Folders of a split: pictures for COCO, pictures for ADE20K, index maps."""
    coco, ade = SPLITS[split]
    return (
        root / "coco" / coco,
        root / "ade" / "images" / ade,
        root / "ade" / "annotations" / ade,
    )


def annotation_file(root: Path, split: str) -> Path:
    """COCO annotations of a split."""
    return root / "coco" / "annotations" / f"instances_{SPLITS[split][0]}.json"


def make_scene(spec: ShapesSpec, split: str, number: int) -> Scene:
    """Picture ``number`` of a split."""
    rng = np.random.default_rng((spec.seed, list(SPLITS).index(split), number))
    # By number, not by chance, so that even a small set holds both rare kinds.
    num_objects = 0 if number % 20 == 7 else int(rng.integers(1, MAX_OBJECTS + 1))
    return draw_scene(rng, spec.size, num_objects, crowd=number % 10 == 3)


def write_split(root: Path, split: str, spec: ShapesSpec) -> None:
    """Writes pictures, index maps and annotations of a split."""
    folders = image_folders(root, split)
    for folder in folders:
        folder.mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(getattr(spec, split)):
        scene = make_scene(spec, split, number)
        file_name = f"{number:06d}.png"
        picture = encode_png(scene.image)
        for folder, content in zip(
            folders, (picture, picture, encode_png(index_map(scene, spec.border))), strict=True
        ):
            (folder / file_name).write_bytes(content)
        images.append(
            {"id": number, "file_name": file_name, "width": spec.size, "height": spec.size}
        )
        for region in scene.regions:
            annotations.append(annotate(region, number, len(annotations) + 1))
    categories = [{"id": n, "name": name} for n, name in enumerate(SHAPES, 1)]
    file = annotation_file(root, split)
    file.parent.mkdir(exist_ok=True)
    write_json(file, {"images": images, "annotations": annotations, "categories": categories})


def annotate(region: Region, image_id: int, annotation_id: int) -> dict[str, Any]:
    """COCO annotation of a region: polygons, or run lengths for a crowd."""
    rows, columns = np.nonzero(region.mask)
    x, y = int(columns.min()), int(rows.min())
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": region.label + 1,
        "segmentation": run_lengths(region.mask) if region.crowd else outlines(region.mask)[0],
        "bbox": [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y],
        "area": len(rows),
        "iscrowd": int(region.crowd),
    }


def run_lengths(mask: Mask) -> dict[str, Any]:
    """COCO's uncompressed run lengths: column by column, beginning with a run of zeros."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    bounds = [0, *changes.tolist(), flat.size]
    counts = np.diff(bounds).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def index_map(scene: Scene, border: int) -> NDArray[np.uint8]:
    """Class of every pixel, with an unlabelled frame ``border`` pixels wide."""
    labels = np.full(scene.image.shape[:2], BACKGROUND, np.uint8)
    for region in scene.regions:
        labels[region.mask] = FIRST_SHAPE + region.label
    inner = np.s_[border : len(labels) - border]
    framed = np.full_like(labels, UNLABELLED)
    framed[inner, inner] = labels[inner, inner]
    return framed


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """A picture (BGR) or an index map as a PNG file's content."""
    return cv2.imencode(".png", image)[1].tobytes()


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
