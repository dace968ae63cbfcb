"""A cleaned copy of a data set; the source is never touched."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from casvit_dense.data.checks.check import check
from casvit_dense.data.checks.coco import Use, check_coco, images_of
from casvit_dense.data.checks.images import check_images
from casvit_dense.data.checks.maps import check_maps
from casvit_dense.data.coco_file import CocoFile
from casvit_dense.data.coco_masks import is_empty
from casvit_dense.data.description import (
    DataDescription,
    Split,
    SplitName,
    write_description,
)
from casvit_dense.data.fixes.changes import Changes, EveryFinding
from casvit_dense.data.fixes.coco import CocoFixer
from casvit_dense.data.layouts.convert import materialise, present
from casvit_dense.data.map_pairs import image_stems
from casvit_dense.data.subset import DESCRIPTION, inside, link_or_copy
from casvit_dense.errors import UserError
from casvit_dense.files import short_path, write_json, write_whole

#: What was changed, in the cleaned copy.
CHANGES: Final = "changes.json"

Log = Callable[[str], None]


@dataclass(frozen=True)
class _Work:
    """What every step of a run has in common."""

    changes: Changes
    log: Log
    deep: bool


def fix(description: DataDescription, out: Path, log: Log, deep: bool = False) -> Changes:
    """Writes a data set without the faults of another, and ``changes.json``.

    COCO files: what can be known is corrected (ids, file names, areas, crowd flags, boxes in
    other units or beyond the image), objects and images that stay faulty are left out. Index maps:
    faulty pairs are left out. YOLO and VOC become COCO files. ``out`` appears whole or not at all;
    images are hard links where the file system allows it.

    Args:
        out: folder that does not exist or is empty, outside the source.
        log: takes lines of progress.
        deep: decode every image as a whole.

    Raises:
        UserError: ``out`` holds files or lies in the source, a file cannot be read, or nothing
            usable would be left.
    """
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out}: holds files; give a folder that does not exist")
    for split in description.splits.values():
        for source in (split.images, split.annotations):
            if source is not None and out.absolute().is_relative_to(source.absolute()):
                raise UserError(f"{out}: lies in the source; give a folder outside of it")
    out.parent.mkdir(parents=True, exist_ok=True)
    changes = Changes()
    work = _Work(changes, log, deep)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        converting = EveryFinding()
        whole = materialise(description, Path(scratch) / "whole", converting)
        for kind, file, where in converting.faulty():
            changes.add(f"left out: {kind.code}", Path(file), where)
        unfinished = Path(scratch) / "fixed"
        fix_split = _fix_maps if whole.task == "segmentation" else _fix_coco
        splits = {}
        for name, split in whole.splits.items():
            own = description.splits.get(name, split).annotations
            splits[name] = fix_split(whole, name, unfinished, own or split.images, work)
        layout = whole.layout if whole.task == "segmentation" else "coco"
        fixed = whole.model_copy(update={"splits": splits, "layout": layout})
        write_description(fixed, unfinished / DESCRIPTION)
        check(fixed, changes.left, deep)
        changes.left.rename(str(short_path(unfinished)), str(short_path(out)))
        changes.left.rename(str(unfinished), str(out))
        write_json(unfinished / CHANGES, changes.to_dict(), indent=2)
        if out.is_dir():
            out.rmdir()
        unfinished.rename(out)
    return changes


def _fix_coco(
    description: DataDescription, name: SplitName, out: Path, called: Path, work: _Work
) -> Split:
    split = description.splits[name]
    if split.annotations is None:
        raise UserError(f"{split.images}: {name} has no annotations, there is nothing to correct")
    fixer = CocoFixer(split.annotations, called, split.images, work.changes)
    file = fixer.fix()
    if file is None:
        raise UserError(
            f"{called}: cannot be read as a COCO file, so nothing of it can be corrected; "
            "casvit-dense data check says why"
        )
    target = out / "annotations" / f"instances_{name}.json"
    while True:  # what a check still names is left out
        _write(file, target)
        found = EveryFinding()
        checked = check_coco(target, name, Use(), found)
        if checked is not None:
            check_images(split.images, images_of(checked), found, deep=work.deep)
        if not fixer.drop(file, found):
            break
    if not file.images or (file.annotations is not None and not file.annotations):
        raise UserError(
            f"{called}: no image with a usable object would be left; casvit-dense data check says "
            "why"
        )
    folder = out / name
    sources = [split.images / image.file_name for image in file.images]
    for image in file.images:
        image.file_name = inside(image.file_name)
    _write(file, target)
    targets = [folder / image.file_name for image in file.images]
    link_or_copy(zip(sources, targets, strict=True), work.log)
    return Split(images=folder, annotations=target)


def _write(file: CocoFile, target: Path) -> None:
    """Writes an annotation file; masks go into it as the JSON that they are."""
    content = {
        kind: [_record(record) for record in getattr(file, kind)]
        for kind in ("images", "annotations", "categories")
        if getattr(file, kind) is not None
    }
    write_whole(target, msgspec.json.encode(content))


def _record(record: msgspec.Struct) -> dict[str, Any]:
    values = present(msgspec.structs.asdict(record))
    if "segmentation" in values and is_empty(values["segmentation"]):
        del values["segmentation"]
    return values


def _fix_maps(
    description: DataDescription, name: SplitName, out: Path, called: Path, work: _Work
) -> Split:
    split = description.splits[name]
    if split.annotations is None:
        raise UserError(f"{split.images}: {name} has no maps, there is nothing to correct")
    found = EveryFinding()
    check_maps(split, description, name, found, deep=work.deep)
    faulty = {where: kind for kind, _, where in found.faulty() if where}
    image, label_map = description.image_suffix, description.map_suffix
    kept = []
    for stem in image_stems(split, description):
        kind = faulty.get(stem + image) or faulty.get(stem + label_map)
        if kind is None:
            kept.append(stem)
        else:
            work.changes.add(f"pair left out: {kind.problem}", called, stem)
    if not kept:
        raise UserError(
            f"{called}: no pair of image and map is without a fault; casvit-dense data check says "
            "what they have in common"
        )
    images, maps = out / "images" / name, out / "annotations" / name
    pairs = [(split.images / f"{stem}{image}", images / f"{stem}{image}") for stem in kept]
    pairs += [
        (split.annotations / f"{stem}{label_map}", maps / f"{stem}{label_map}") for stem in kept
    ]
    link_or_copy(pairs, work.log)
    return Split(images=images, annotations=maps)
