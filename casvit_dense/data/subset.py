"""Makes a small data set of a large one, by seed, with every class in it that can be."""

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

from casvit_dense.data.checks.map_facts import map_facts
from casvit_dense.data.coco_file import as_content, read_coco
from casvit_dense.data.description import (
    DataDescription,
    Split,
    SplitName,
    write_description,
)
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.convert import materialise, present
from casvit_dense.data.map_pairs import image_stems
from casvit_dense.errors import UserError, shortlist
from casvit_dense.files import write_json
from casvit_dense.progress import Progress, counted

DESCRIPTION: Final = "data.yaml"

Log = Callable[[str], None]
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
        UserError: ``out`` holds files, or the data cannot be read.
    """
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out}: holds files; give a folder that does not exist")
    out.parent.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        findings = Findings()
        whole = materialise(description, Path(scratch) / "whole", findings)
        findings.raise_errors()
        unfinished = Path(scratch) / "part"
        part_of = _maps_part if whole.task == "segmentation" else _coco_part
        splits: dict[SplitName, Split] = {}
        for name in whole.splits:
            choose = partial(_choose, size=size, seed=seed, name=name, lines=lines)
            splits[name] = part_of(whole, name, choose, unfinished, log)
        layout = whole.layout if whole.task == "segmentation" else "coco"
        part = whole.model_copy(update={"splits": splits, "layout": layout})
        write_description(part, unfinished / DESCRIPTION)
        if out.is_dir():
            out.rmdir()
        unfinished.rename(out)
    return lines


def _coco_part(
    description: DataDescription, name: SplitName, choose: Choose, out: Path, log: Log
) -> Split:
    split = description.splits[name]
    assert split.annotations is not None
    findings = Findings()
    file = read_coco(split.annotations, findings)
    findings.raise_errors()
    assert file is not None  # otherwise something was found
    content = as_content(file)
    names = {category["id"]: category["name"] for category in content["categories"]}
    classes: dict[Any, set[str]] = {image["id"]: set() for image in content["images"]}
    for a in content["annotations"]:
        if names.get(a["category_id"]) in description.classes and a["image_id"] in classes:
            classes[a["image_id"]].add(names[a["category_id"]])
    chosen = choose(classes)
    images = [present(image) for image in content["images"] if image["id"] in chosen]
    folder = out / name
    part = {"images": images, "categories": content["categories"]}
    if file.annotations is not None:
        part["annotations"] = [
            present(a) for a in content["annotations"] if a["image_id"] in chosen
        ]
    sources = [split.images / image["file_name"] for image in images]
    for image in images:
        image["file_name"] = inside(image["file_name"])
    link_or_copy(zip(sources, [folder / image["file_name"] for image in images], strict=True), log)
    target = out / "annotations" / f"instances_{name}.json"
    write_json(target, part)
    return Split(images=folder, annotations=target)


def inside(name: str) -> str:
    """A file name that stays in its folder; lists of images may name others."""
    return "/".join(part for part in PurePosixPath(name).parts if part not in ("..", "/"))


def _maps_part(
    description: DataDescription, name: SplitName, choose: Choose, out: Path, log: Log
) -> Split:
    split = description.splits[name]
    targets = Split(images=out / "images" / name, annotations=out / "annotations" / name)
    assert split.annotations is not None and targets.annotations is not None
    maps = {
        stem: split.annotations / f"{stem}{description.map_suffix}"
        for stem in image_stems(split, description)
    }
    facts = map_facts(maps.values())
    first = int(description.reduce_zero_label)
    labels = {first + n: name for n, name in enumerate(description.classes)}
    labels.pop(description.ignore_label, None)
    chosen = choose(
        {
            stem: {labels[label] for label, _ in facts[file].labels if label in labels}
            for stem, file in maps.items()
        }
    )
    image, label_map = description.image_suffix, description.map_suffix
    link_or_copy(
        [
            pair
            for stem in sorted(chosen)
            for pair in (
                (split.images / f"{stem}{image}", targets.images / f"{stem}{image}"),
                (maps[stem], targets.annotations / f"{stem}{label_map}"),
            )
        ],
        log,
    )
    return targets


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


def link_or_copy(pairs: Iterable[tuple[Path, Path]], log: Log) -> None:
    pairs = list(pairs)
    for source, target in Progress("file", len(pairs), seconds=5).track(pairs, log):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not source.is_file():
            raise UserError(f"no file {source}; casvit-dense data check names all that are missing")
        try:
            os.link(source, target)
        except OSError:  # another file system, or not allowed
            shutil.copy2(source, target)
