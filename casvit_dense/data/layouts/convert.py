"""Makes of any data set what training reads: COCO files, or images, maps and lists of names."""

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from casvit_dense.data.checks.image_facts import image_facts
from casvit_dense.data.coco_file import CocoFile, open_coco, write_coco
from casvit_dense.data.description import DataDescription, Division, Split, SplitName
from casvit_dense.data.findings import KINDS, Findings, Kind
from casvit_dense.data.layouts.files import CLASS_FILES, files_below, images_below
from casvit_dense.data.layouts.objects import Object, Size
from casvit_dense.data.layouts.voc import XML, read_objects
from casvit_dense.data.layouts.yolo import labels_of, read_labels, split_at
from casvit_dense.data.map_pairs import image_stems, read_list
from casvit_dense.errors import UserError
from casvit_dense.files import is_file, write_json, write_whole
from casvit_dense.progress import counted

IMAGE_LISTED = KINDS["listed-image-missing"]
IMAGE_UNREADABLE = KINDS["labelled-image-unreadable"]
LABELS_ALONE = KINDS["labels-without-image"]
LABELS_UNREADABLE = KINDS["labels-unreadable"]

#: What a label file's name ends in, by layout.
LABEL_SUFFIX: Final = {"yolo": ".txt", "voc": ".xml"}


def materialise(description: DataDescription, folder: Path, findings: Findings) -> DataDescription:
    """Makes COCO files of YOLO and VOC, and divides what is to be divided.

    Everything else comes back as it is. The same data give the same files, whole or not at all.

    Args:
        folder: takes ``<split>.json``, or ``<split>.txt`` of index maps.
        findings: takes what was wrong or left out.

    Raises:
        UserError: a file cannot be written, or there are too few images to divide.
    """
    if description.layout in ("yolo", "voc"):
        splits = {}
        for name, split in description.splits.items():
            file = folder / f"{name}.json"
            splits[name] = split
            if split.annotations is not None:
                write_json(file, coco_content(description, name, findings))
                splits[name] = Split(images=split.images, annotations=file)
        description = description.model_copy(update={"splits": splits, "layout": "coco"})
    if description.division is None:
        return description
    divided = _divide_maps if description.task == "segmentation" else _divide_coco
    parts = divided(description, description.division, folder)
    others = {name: split for name, split in description.splits.items() if name != "train"}
    return description.model_copy(update={"splits": parts | others, "division": None})


def coco_content(
    description: DataDescription, name: SplitName, findings: Findings
) -> dict[str, Any]:
    """A split of a YOLO or VOC set as the content of a COCO file.

    Args:
        findings: takes what was wrong or left out.
    """
    split = description.splits[name]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    used: set[Path] = set()
    pairs = list(_images_and_labels(split, LABEL_SUFFIX[description.layout], findings))
    facts = image_facts(image for image, _ in pairs)
    for image, labels in pairs:
        file_name = os.path.relpath(image, split.images)
        size = (facts[image].width, facts[image].height)
        if not all(size):
            findings.add(IMAGE_UNREADABLE, split.images, file_name, str(facts[image]))
            continue
        objects: list[Object] = []
        if labels.is_file():
            used.add(labels)
            size, objects = _read(labels, size, description, split, findings)
        number = len(images) + 1
        images.append(
            {
                "id": number,
                "file_name": Path(file_name).as_posix(),
                "width": size[0],
                "height": size[1],
            }
        )
        annotations += [o.to_coco(n, number) for n, o in enumerate(objects, len(annotations) + 1)]
    if used and len(used) < len(images):
        without = counted(len(images) - len(used), "image")
        findings.note(f"{name}: {without} without a label file, read as background")
    for part in map(split_at, split.parts) if split.parts else [split]:
        if part.files is None:
            _find_labels_alone(part, LABEL_SUFFIX[description.layout], used, findings)
    content: dict[str, Any] = {
        "images": images,
        "categories": [{"id": n, "name": name} for n, name in enumerate(description.classes, 1)],
    }
    if name != "test" or used:
        content["annotations"] = annotations
    return content


def _images_and_labels(
    split: Split, suffix: str, findings: Findings
) -> Iterator[tuple[Path, Path]]:
    """The images of a split, and where the labels of each would be."""
    if split.parts:
        for place in split.parts:
            yield from _images_and_labels(split_at(place), suffix, findings)
        return
    if split.files is None:
        for image in images_below(split.images):
            labels = split.truth / image.relative_to(split.images)
            yield image, labels.with_suffix(suffix)
        return
    by_stem: dict[str, Path] = {}
    if suffix == ".xml":
        by_stem = {_stem(image, split.images): image for image in images_below(split.images)}
    for line in read_list(split.files):
        if suffix == ".xml":  # VOC's lists of one class have a number behind the name
            stem = line.split()[0]
            listed, labels = by_stem.get(stem), split.truth / f"{stem}.xml"
        else:
            listed = split.images / line
            labels = labels_of(listed)
        if listed is None or not is_file(listed):
            findings.add(IMAGE_LISTED, split.files, line)
        else:
            yield listed, labels.with_suffix(suffix)


def _stem(path: Path, folder: Path) -> str:
    """A name in lists: relative, without suffix."""
    return path.relative_to(folder).with_suffix("").as_posix()


def _read(
    labels: Path, size: Size, description: DataDescription, split: Split, findings: Findings
) -> tuple[Size, list[Object]]:
    """Size and objects of an image."""
    folder = split.truth
    short = os.path.relpath(labels, folder)

    def report(kind: Kind, number: int | None, example: str) -> None:
        findings.add(kind, folder, short if number is None else f"{short}:{number}", example)

    try:
        if description.layout == "voc":
            return read_objects(labels, size, description.classes, report)
        return size, read_labels(labels, size, description.classes, report)
    except (OSError, ValueError) as error:
        report(XML if description.layout == "voc" else LABELS_UNREADABLE, None, str(error))
        return size, []


def _find_labels_alone(split: Split, suffix: str, used: set[Path], findings: Findings) -> None:
    for file in files_below(split.truth, suffix):
        is_other = file.name in CLASS_FILES or file.name.lower().startswith("readme")
        if file not in used and not is_other:
            findings.add(LABELS_ALONE, split.truth, os.path.relpath(file, split.truth))


def _divide_maps(
    description: DataDescription, division: Division, folder: Path
) -> dict[SplitName, Split]:
    whole = description.splits["train"]
    names = image_stems(whole, description.image_suffix)
    parts: dict[SplitName, Split] = {}
    for split, part in divide(names, division).items():
        file = folder / f"{split}.txt"
        write_whole(file, "".join(f"{name}\n" for name in sorted(part)).encode())
        parts[split] = whole.model_copy(update={"files": file})
    return parts


def _divide_coco(
    description: DataDescription, division: Division, folder: Path
) -> dict[SplitName, Split]:
    whole = description.splits["train"]
    content = open_coco(whole.truth)
    divided = divide([str(image.file_name) for image in content.images], division)
    # Ids may be anything in a file with faults, which the check names.
    held_out = {repr(i.id) for i in content.images if str(i.file_name) in divided["val"]}
    parts: dict[SplitName, Split] = {}
    for split in divided:
        images = [i for i in content.images if (repr(i.id) in held_out) == (split == "val")]
        objects = [
            a
            for a in content.annotations or ()
            if (repr(a.image_id) in held_out) == (split == "val")
        ]
        file = folder / f"{split}.json"
        write_coco(CocoFile(file, images, objects, content.categories), file)
        parts[split] = Split(images=whole.images, annotations=file)
    return parts


def divide(names: Sequence[str], division: Division) -> dict[SplitName, set[str]]:
    """Chooses the names of ``train`` and ``val`` by seed, groups as a whole.

    Raises:
        UserError: there are fewer than two groups.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        key = name.partition(division.group_by)[0] if division.group_by else name
        groups.setdefault(key, []).append(name)
    if len(groups) < 2:
        raise UserError(
            f"{counted(len(set(names)), 'image')} in {counted(len(groups), 'group')} cannot be "
            "divided into train and val"
        )
    order = list(groups)
    random.Random(division.seed).shuffle(order)
    most = division.share * len(set(names))
    train = set(groups[order[0]])
    for key in order[1:-1]:
        if len(train) + len(groups[key]) / 2 <= most:
            train.update(groups[key])
    return {"train": train, "val": set(names) - train}
