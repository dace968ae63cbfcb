"""A cleaned copy of a data set; the source is never touched."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casvit_dense.data.checks.check import check
from casvit_dense.data.checks.coco import Use, check_coco, images_of
from casvit_dense.data.checks.images import check_images
from casvit_dense.data.checks.maps import MAP_CHANNELS, check_maps
from casvit_dense.data.coco_file import write_coco
from casvit_dense.data.copies import Log, copy_coco, copy_maps, describe_copy, inside, new_folder
from casvit_dense.data.description import DataDescription, Split, SplitName
from casvit_dense.data.findings import Findings, Kind
from casvit_dense.data.fixes.changes import Changes
from casvit_dense.data.fixes.coco import CocoFixer
from casvit_dense.data.fixes.labels import can_be_labels, write_labels
from casvit_dense.data.layouts.convert import materialise
from casvit_dense.data.map_pairs import image_stems
from casvit_dense.errors import UserError
from casvit_dense.files import short_path, write_json

#: What was changed, in the cleaned copy.
CHANGES: Final = "changes.json"


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
    colours become labels where these are known, faulty pairs are left out. YOLO and VOC become COCO
    files. ``out`` appears whole or not at all; images are hard links where the file system allows
    it.

    Args:
        out: folder that does not exist or is empty, outside the source.
        log: takes lines of progress.
        deep: decode every image as a whole.

    Raises:
        UserError: ``out`` holds files or lies in the source, a file cannot be read, or nothing
            usable would be left.
    """
    changes = Changes()
    work = _Work(changes, log, deep)
    with new_folder(out, description) as unfinished:
        converting = Findings(named=None)
        whole = materialise(description, unfinished.with_name("whole"), converting)
        for error in converting.errors():
            for where in error.where:
                changes.add(f"left out: {error.kind.code}", Path(error.file), where)
        fix_split = _fix_maps if whole.task == "segmentation" else _fix_coco
        splits = {}
        for name, split in whole.splits.items():
            own = description.splits.get(name, split).annotations
            splits[name] = fix_split(whole, name, unfinished, own or split.images, work)
        labelled = whole.model_copy(update={"colours": []})
        check(describe_copy(labelled, splits, unfinished), changes.left, deep)
        changes.left.rename(str(short_path(unfinished)), str(short_path(out)))
        changes.left.rename(str(unfinished), str(out))
        write_json(unfinished / CHANGES, changes.to_dict(), indent=2)
    return changes


def _fix_coco(
    description: DataDescription, name: SplitName, out: Path, called: Path, work: _Work
) -> Split:
    split = description.splits[name]
    fixer = CocoFixer(split.truth, called, split.images, work.changes)
    file = fixer.fix()
    if file is None:
        raise UserError(
            f"{called}: cannot be read as a COCO file, so nothing of it can be corrected; "
            "casvit-dense data check says why"
        )
    target = out / "annotations" / f"instances_{name}.json"
    while True:  # what a check still names is left out
        write_coco(file, target)
        found = Findings(named=None)
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
    return copy_coco(file, split.images, out, name, work.log)


def _fix_maps(
    description: DataDescription, name: SplitName, out: Path, called: Path, work: _Work
) -> Split:
    split = description.splits[name]
    found = Findings(named=None)
    check_maps(split, description, name, found, deep=work.deep)
    image, label_map = description.image_suffix, description.map_suffix
    faulty: dict[str, Kind] = {}
    coloured: dict[str, Path] = {}
    for error in found.errors():
        for where in error.where:
            source = split.truth / where
            if error.kind == MAP_CHANNELS and can_be_labels(source, description):
                coloured[where] = source
            else:
                faulty[where] = error.kind
    kept = []
    for stem in image_stems(split, description.image_suffix):
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
    part = copy_maps(kept, description, out, name, work.log)
    for stem in kept:
        if (stem + label_map) in coloured:
            target = part.truth / inside(stem + label_map)
            unknown = write_labels(coloured[stem + label_map], target, description)
            work.changes.add("colours made labels", called, stem)
            if unknown:
                work.changes.add("pixels of other colours do not count", called, stem, str(unknown))
    return part
