"""Makes a small data set of a large one, by seed, with every class in it that can be."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from casvit_dense.data.checks.map_facts import map_facts
from casvit_dense.data.coco_file import hashable, open_coco
from casvit_dense.data.copies import Log, copy_coco, copy_maps, describe_copy, new_folder
from casvit_dense.data.description import DataDescription, Split, SplitName
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.convert import materialise
from casvit_dense.data.map_pairs import image_stems
from casvit_dense.errors import UserError, shortlist
from casvit_dense.progress import counted

Key = TypeVar("Key")
#: Takes the classes of each image, returns the images to keep.
Choose = Callable[[Mapping[Any, set[str]]], set[Any]]


@dataclass(frozen=True)
class SubsetSize:
    """How many images of each split: a number, or a share of them."""

    images: int | None = None
    share: float | None = None

    def of(self, total: int) -> int:
        """Images of a split that has ``total``, one at least."""
        wanted = self.images if self.share is None else round(self.share * total)
        return min(total, max(1, wanted or 0))


def subset(
    description: DataDescription, out: Path, size: SubsetSize, seed: int, log: Log
) -> list[str]:
    """Writes a part of a data set: COCO files or index maps, images, and ``data.yaml``.

    Images and maps are hard links where the file system allows it, else copies. ``out`` appears
    whole or not at all.

    Args:
        out: folder that does not exist or is empty.
        log: takes lines of progress.

    Returns:
        Lines that say what was chosen of each split, and which classes were lost.

    Raises:
        UserError: ``out`` holds files or lies in the data, or these cannot be read.
    """
    lines: list[str] = []
    with new_folder(out, description) as unfinished:
        findings = Findings()
        whole = materialise(description, unfinished.with_name("whole"), findings)
        findings.raise_errors()
        part_of = _maps_part if whole.task == "segmentation" else _coco_part
        splits: dict[SplitName, Split] = {}
        for name, split in whole.splits.items():
            if split.annotations is None:
                lines.append(f"{name}: left out, its images have no truth")
                continue
            choose = partial(_choose, size=size, seed=seed, name=name, lines=lines)
            splits[name] = part_of(whole, name, choose, unfinished, log)
        if not splits:
            raise UserError("no split has truth by which images could be chosen")
        describe_copy(whole, splits, unfinished)
    return lines


def _coco_part(
    description: DataDescription, name: SplitName, choose: Choose, out: Path, log: Log
) -> Split:
    split = description.splits[name]
    file = open_coco(split.truth)
    if not all(hashable(image.id) and isinstance(image.file_name, str) for image in file.images):
        raise UserError(
            f"{split.annotations}: images without id or file name; casvit-dense data check names "
            "them"
        )
    names = {c.id: c.name for c in file.categories if hashable(c.id)}
    classes: dict[Any, set[str]] = {image.id: set() for image in file.images}
    objects = [a for a in file.annotations or () if hashable(a.image_id) and a.image_id in classes]
    for a in objects:
        name_of_class = names.get(a.category_id) if hashable(a.category_id) else None
        if name_of_class in description.classes:
            classes[a.image_id].add(name_of_class)
    chosen = choose(classes)
    file.images = [image for image in file.images if image.id in chosen]
    if file.annotations is not None:
        file.annotations = [a for a in objects if a.image_id in chosen]
    return copy_coco(file, split.images, out, name, log)


def _maps_part(
    description: DataDescription, name: SplitName, choose: Choose, out: Path, log: Log
) -> Split:
    split = description.splits[name]
    maps = {
        stem: split.truth / f"{stem}{description.map_suffix}"
        for stem in image_stems(split, description.image_suffix)
    }
    facts = map_facts(maps.values())
    labels = dict(enumerate(description.classes, int(description.reduce_zero_label)))
    labels.pop(description.ignore_label, None)
    chosen = choose(
        {
            stem: {labels[label] for label, _ in facts[file].labels if label in labels}
            for stem, file in maps.items()
        }
    )
    return copy_maps(sorted(chosen), description, out, name, log)


def _choose(
    classes: Mapping[Key, set[str]], size: SubsetSize, seed: int, name: str, lines: list[str]
) -> set[Key]:
    """Images of a split, those with most classes that lack first, then by chance; says which."""
    order = sorted(classes, key=str)
    random.Random(seed).shuffle(order)
    wanted = size.of(len(order))
    there: set[str] = set().union(*classes.values())
    chosen: dict[Key, None] = {}
    lost = set(there)
    while lost and len(chosen) < wanted:
        best = max(order, key=lambda key: len(classes[key] & lost))
        chosen[best] = None
        lost -= classes[best]
    for key in order:
        if len(chosen) < wanted:
            chosen[key] = None
    lost = there.difference(*(classes[key] for key in chosen))
    kept = f"without {shortlist(sorted(lost), 10)}" if lost else f"all {len(there)} classes"
    count = f"{name}: {len(chosen):,} of {counted(len(order), 'image')}"
    lines.append(f"{count}, {kept}" if there else count)
    return set(chosen)
