"""YOLO's layout: ``data.yaml``, images, and a label file an image with boxes or polygons.

Read by our own code: hotcoco's reader drops polygons, sees one flat folder and stops at the first
wrong line without its place.
"""

import math
import os
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import yaml

from casvit_dense.data.description import Split, SplitName, read_yaml
from casvit_dense.data.findings import KINDS, Kind
from casvit_dense.data.layouts.files import (
    SPLIT_NAMES,
    class_file,
    files_below,
    has_files,
    has_pairs,
    read_class_file,
    split_folders,
    split_in,
    subfolders,
)
from casvit_dense.data.layouts.objects import Object, Report, Size
from casvit_dense.errors import UserError
from casvit_dense.files import is_file

LINE = KINDS["yolo-line"]
CLASS = KINDS["yolo-class"]
COORDINATE = KINDS["yolo-coordinate"]
EMPTY = KINDS["yolo-empty"]
REPEATED = KINDS["yolo-repeated"]

#: How far coordinates may lie outside of the image, as a share of it: rounding.
TOLERANCE: Final = 1e-3

#: Keys of ``data.yaml`` by split; some tools write ``valid``.
YAML_KEYS: Final[dict[SplitName, tuple[str, ...]]] = {
    "train": ("train",),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
NOTHING: Final = ("", "~", "null")
SAMPLE: Final = 50  # label files by which boxes are told from polygons


def read_texts(file: Path) -> dict[str, Any]:
    """The keys of a YAML file, all values as text; none if it holds something else.

    Raises:
        UserError: it cannot be read or is not YAML.
    """
    content = read_yaml(file, yaml.BaseLoader)  # otherwise a class called no would be False
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if value not in NOTHING}


def yolo_of_yaml(file: Path) -> tuple[dict[SplitName, Split], list[str] | None]:
    """Splits and class names of a ``data.yaml``.

    Raises:
        UserError: a folder is missing, or names and ``nc`` do not fit.
    """
    content = read_texts(file)
    if "kpt_shape" in content:  # a box and even key points look like a polygon
        raise UserError(
            f"{file}: kpt_shape: its labels hold key points, which are not read; keep the first "
            "five numbers of each line (class and box), and take out kpt_shape"
        )
    splits: dict[SplitName, Split] = {}
    for split in SPLIT_NAMES:
        value = next((content[key] for key in YAML_KEYS[split] if key in content), None)
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(one, str) for one in values):
            raise UserError(f"{file}: {split}: give folders or lists of files, not {value!r}")
        places = []
        for one in values:
            place = _place(file, content.get("path"), one)
            if place is not None:
                places.append(place)
            elif split != "test":  # Roboflow names one that it does not always export
                raise UserError(
                    f"{file}: {split}: no {one} beside it or below its path; correct the path"
                )
        for part in map(split_at, places):
            if split != "test" and part.annotations and not part.annotations.is_dir():
                raise UserError(f"{file}: {split}: no folder {part.annotations} with label files")
        if places:
            splits[split] = split_at(places[0]) if len(places) == 1 else _joined(places)
    if not splits:
        raise UserError(f"{file}: names no images; give train and val")
    return splits, _yaml_names(file, content)


def _place(file: Path, base: Any, value: str) -> Path | None:
    """The folder or list that a value of a ``data.yaml`` means: tools disagree on the root."""
    here = file.absolute().parent
    inner = Path(*[part for part in Path(value).parts if part not in ("..", "/")])
    bases = [here / base, here] if isinstance(base, str) else [here]
    places = [base / value for base in bases] + [here / inner]
    places += [base / value.replace("\\", "/") for base in bases]  # written on Windows
    there = (place for place in places if os.path.exists(place))  # noqa: PTH110 (odd names)
    return next((place.resolve() for place in there), None)


def _joined(places: list[Path]) -> Split:
    images = [split_at(place).images for place in places]
    top = Path(os.path.commonpath(images))
    return Split(images=top, annotations=top, parts=tuple(places))


def split_at(place: Path) -> Split:
    """The split of one folder or list of images."""
    if place.is_file():
        return Split(images=place.parent, annotations=place.parent, files=place)
    if not (place / "images").is_dir():
        return Split(images=place, annotations=labels_of(place))
    return Split(images=place / "images", annotations=place / "labels")


def labels_of(path: Path) -> Path:
    """Where the labels of a folder or file of images lie: ``labels`` for the last ``images``."""
    parts = list(path.parts)
    for i in reversed(range(len(parts))):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts)


def _yaml_names(file: Path, content: dict[str, Any]) -> list[str] | None:
    names = content.get("names")
    if isinstance(names, dict):
        if set(names) != {str(number) for number in range(len(names))}:
            raise UserError(f"{file}: names: number the classes 0 to {len(names) - 1}")
        names = [names[str(number)] for number in range(len(names))]
    if names is None:
        found = class_file(file.absolute().parent)
        return read_class_file(found) if found else None
    if not isinstance(names, list) or not names:
        raise UserError(f"{file}: names: give a list of class names, not {names!r}")
    if content.get("nc", str(len(names))) != str(len(names)):
        raise UserError(f"{file}: nc is {content['nc']}, but there are {len(names)} names")
    return [str(name) for name in names]


def yolo_of_folders(root: Path) -> dict[SplitName, Split]:
    """Splits of ``images`` and ``labels`` without a ``data.yaml``; empty if there are none."""
    found: dict[SplitName, Split] = {}
    for split, images in split_folders(root / "images").items():
        found[split] = Split(images=images, annotations=root / "labels" / images.name)
    for split, folder in split_folders(root).items():
        if (folder / "images").is_dir():
            found[split] = Split(images=folder / "images", annotations=folder / "labels")
    if not found and (root / "images").is_dir():
        found["train"] = Split(images=root / "images", annotations=root / "labels")
    found = {
        name: split
        for name, split in found.items()
        if split.annotations is not None and has_files(split.annotations, ".txt")
    }
    if not found and class_file(root):  # without names, text beside images may be captions
        folders = {f: split_in(f.name) for f in subfolders(root) if f.match("obj_*_data")}  # CVAT
        for folder, name in (folders or {root: None}).items():
            if has_pairs(folder, ".txt"):
                found[name or "train"] = Split(images=folder, annotations=folder)
    return found


def has_polygons(splits: dict[SplitName, Split]) -> bool:
    """Whether most of the first lines of label files are polygons."""
    polygons = lines = 0
    for file in _some_labels(next(iter(splits.values()))):
        for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines()[:SAMPLE]:
            lines += 1
            polygons += len(line.split()) > 6
    return 2 * polygons > lines


def _some_labels(split: Split) -> Iterator[Path]:
    """A few label files of a split."""
    files: Iterator[Path]
    if split.parts:
        files = chain.from_iterable(_some_labels(split_at(place)) for place in split.parts)
    elif split.files is None:
        files = files_below(split.truth, ".txt")
    else:
        text = split.files.read_text(encoding="utf-8-sig", errors="replace")
        listed = (labels_of(split.images / line.strip()) for line in text.split("\n"))
        files = (labels.with_suffix(".txt") for labels in listed if labels.name)
    return islice((file for file in files if is_file(file)), SAMPLE)


def read_labels(file: Path, size: Size, classes: list[str], report: Report) -> list[Object]:
    """The objects of a label file; lines that cannot be read are found.

    Args:
        size: of the image, width and height.
        report: takes a kind, the number of the line and what it holds.

    Raises:
        OSError, UnicodeDecodeError: the file cannot be read.
    """
    objects = []
    seen: set[str] = set()
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        if " ".join(line.split()) in seen:
            report(REPEATED, number, line)
            continue
        seen.add(" ".join(line.split()))
        found = _object(line, size, len(classes))
        if isinstance(found, Kind):
            report(found, number, line)
        else:
            objects.append(found)
    return objects


def _object(line: str, size: Size, classes: int) -> Object | Kind:
    try:
        label, *parts = map(float, line.split())
    except ValueError:
        return LINE
    is_box, is_polygon = len(parts) == 4, len(parts) >= 6 and len(parts) % 2 == 0
    if not all(map(math.isfinite, [label, *parts])) or not (is_box or is_polygon):
        return LINE
    if not label.is_integer() or not 0 <= label < classes:
        return CLASS
    if is_box:
        x, y, width, height = parts
        if width <= 0 or height <= 0:
            return EMPTY
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    else:
        corners = [min(parts[::2]), min(parts[1::2]), max(parts[::2]), max(parts[1::2])]
    if min(corners) < -TOLERANCE or max(corners) > 1 + TOLERANCE:
        return COORDINATE
    pixels = [min(max(part, 0.0), 1.0) * size[i % 2] for i, part in enumerate(corners)]
    if pixels[2] <= pixels[0] or pixels[3] <= pixels[1]:
        return EMPTY
    outline = [min(max(part, 0.0), 1.0) * size[i % 2] for i, part in enumerate(parts)]
    return Object(int(label), box=pixels, outline=outline if is_polygon else None)
