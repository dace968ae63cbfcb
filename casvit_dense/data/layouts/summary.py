"""What was understood of a data set, in a few lines."""

from collections import Counter
from pathlib import Path
from typing import Final

from casvit_dense.data.coco_file import read_coco
from casvit_dense.data.description import DataDescription, Split, SplitName
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.convert import coco_content
from casvit_dense.data.layouts.files import images_below
from casvit_dense.data.map_pairs import image_stems
from casvit_dense.errors import shortlist
from casvit_dense.files import short_path
from casvit_dense.progress import counted

LAYOUTS: Final = {
    "coco": "COCO files",
    "roboflow": "COCO files as Roboflow exports them",
    "yolo": "YOLO",
    "voc": "Pascal VOC",
    "maps": "images and index maps",
    "ade20k": "ADE20K",
}
SHOWN: Final = 12  # classes with their counts


def summarise(description: DataDescription, findings: Findings) -> list[str]:
    """Task, layout, classes, and the images and objects of each split.

    Args:
        findings: takes what is wrong with YOLO and VOC files, which are read here.
    """
    objects: Counter[str] = Counter()
    splits = []
    for name, split in description.splits.items():
        if description.task == "segmentation":
            count = counted(len(image_stems(split, description.image_suffix)), "image")
        else:
            images, found = _count(description, name, findings)
            objects += found
            count = f"{counted(images, 'image')}, {counted(found.total(), 'object')}"
        splits.append(f"{name:8} {count}: {_places(split)}")
    return [*_facts(description), _classes(description.classes, objects), *splits]


def _facts(description: DataDescription) -> list[str]:
    layout = LAYOUTS.get(description.layout, description.layout)
    if description.task == "segmentation":
        first, others = ("1", "0 and ") if description.reduce_zero_label else ("0", "")
        lines = [
            f"task     segmentation; layout: {layout}",
            f"labels   {first} is the first class; {others}{description.ignore_label} not counted",
            f"names    x{description.image_suffix} has the map x{description.map_suffix}",
        ]
    else:
        kind = "boxes and masks" if description.masks else "boxes"
        lines = [f"task     detection, {kind}; layout: {layout}"]
    division = description.division
    if division is not None:
        groups = f", grouped by names before {division.group_by!r}" if division.group_by else ""
        lines.append(
            f"divided  {division.share:.0%} for training, the rest for validation, "
            f"seed {division.seed}{groups}"
        )
    return lines


def _classes(names: list[str], objects: Counter[str]) -> str:
    shown = [f"{name} {objects[name]:,}" if objects else name for name in names]
    return f"classes  {len(names)}: {shortlist(shown, SHOWN)}"


def _count(
    description: DataDescription, name: SplitName, findings: Findings
) -> tuple[int, Counter[str]]:
    """Images of a split, and objects by class."""
    split = description.splits[name]
    if split.annotations is not None and description.layout in ("yolo", "voc"):
        content = coco_content(description, name, findings)
        labels = Counter(a["category_id"] for a in content.get("annotations", ()))
        found = {description.classes[label - 1]: count for label, count in labels.items()}
        return len(content["images"]), Counter(found)
    if split.annotations is None:
        return sum(1 for _ in images_below(split.images)), Counter()
    file = read_coco(split.annotations, findings)
    if file is None:
        return 0, Counter()
    names = {repr(category.id): category.name for category in file.categories}
    return len(file.images), Counter(
        str(names.get(repr(annotation.category_id), "?")) for annotation in file.annotations or ()
    )


def _places(split: Split) -> str:
    places = split.parts or [split.images, split.annotations, split.files]
    return ", ".join(str(short_path(place)) for place in places if isinstance(place, Path))
