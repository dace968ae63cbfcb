"""Finds COCO files and the folders of their images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from casvit_dense.data.coco_file import CocoFile, read_coco
from casvit_dense.data.coco_masks import is_empty
from casvit_dense.data.description import SplitName
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.files import (
    ALIASES,
    IMAGE_SUFFIXES,
    SPLIT_NAMES,
    compare_classes,
    files_in,
    has_files,
    split_folders,
    split_in,
    split_of,
    subfolders,
)
from casvit_dense.errors import UserError, shortlist
from casvit_dense.files import is_file, short_path

ROBOFLOW: Final = "_annotations.coco.json"

#: Beginnings of COCO's files for other tasks; the lists of test images come last.
OTHER_TASKS: Final = ("captions", "person_keypoints", "panoptic", "stuff")
ONLY_IMAGES: Final = "image_info"

SAMPLE: Final = 10  # images of a file that are looked for
DEPTH: Final = 3  # of folders that are searched for them
PEEK: Final = 1 << 20  # bytes of a file that may be a COCO file

Files = dict[SplitName, Path]


@dataclass(frozen=True)
class CocoFacts:
    """What the annotation files of a set say together.

    Attributes:
        classes: the names of the categories in the files' order, which is that of mmdet's labels.
        masks: most objects have one.
    """

    classes: list[str]
    masks: bool


def annotation_files(root: Path) -> Files:
    """The COCO file of each split of a folder; empty if there is none.

    Raises:
        UserError: several files could be meant.
    """
    inner = {
        split: file
        for split, folder in split_folders(root).items()
        if (file := _only_file([folder, folder / "annotations"])) is not None
    }
    if inner:
        return inner
    for folder in (root / "annotations", root / "Annotations"):
        if files := files_in(folder, ".json"):
            return _by_name(files, folder)
    return _by_name([f for f in files_in(root, ".json") if split_in(f.stem) or is_coco(f)], root)


def is_coco(file: Path) -> bool:
    """Whether a file that may be anything speaks of images, in any encoding, at one of its ends."""
    with file.open("rb") as stream:
        head = stream.read(PEEK)
        stream.seek(max(0, file.stat().st_size - PEEK))
        return b'"images"' in (head + stream.read()).replace(b"\0", b"")


def _only_file(folders: list[Path]) -> Path | None:
    """The COCO file among files of other tools, which may be one an image."""
    files = [file for folder in folders for file in files_in(folder, ".json")]
    if len(files) > 1:
        files = [file for file in files if "annotations" in file.name or "instances" in file.name]
    return files[0] if len(files) == 1 else None


def _by_name(files: list[Path], folder: Path) -> Files:
    instances = [file for file in files if not file.name.startswith(OTHER_TASKS)]
    if len(instances) == 1:
        return {split_of(instances[0]): instances[0]}
    found: Files = {}
    for split in SPLIT_NAMES:
        named = [file for file in instances if split_in(file.stem) == split]
        for unwanted in (ONLY_IMAGES, "annotations"):  # COCO's own begin with instances
            if len(named) > 1:
                named = [file for file in named if not file.name.startswith(unwanted)]
        if len(named) > 1:
            names = shortlist([file.name for file in named])
            raise UserError(
                f"{folder}: several annotation files for {split}: {names}; "
                "give one of them, or a description (.yaml) of the set"
            )
        if named:
            found[split] = named[0]
    return found


def root_of(file: Path) -> Path:
    """The folder below which an annotation file's images lie."""
    parent = file.absolute().parent
    return parent.parent if parent.name.lower() in ("annotations", "labels") else parent


def read_files(files: Files, findings: Findings) -> dict[SplitName, CocoFile | None]:
    """The annotation files of a set, None for those that cannot be read.

    Raises:
        UserError: none of them can be read; why is then among the findings.
    """
    scratch = Findings()
    read = {split: read_coco(file, scratch) for split, file in files.items()}
    if not any(read.values()):
        findings.extend(scratch)
        raise UserError("\n".join(line for found in scratch.errors() for line in found.lines()))
    return read


def image_folder(split: SplitName, file: Path, root: Path, content: CocoFile | None) -> Path:
    """The folder in which the images are that an annotation file names; a guess if none is.

    Raises:
        UserError: several folders have images of these names, and none is a usual one.
    """
    names = [image.file_name for image in content.images] if content else []
    sample = [n for n in names[:: max(1, len(names) // SAMPLE)] if isinstance(n, str) and n]
    usual = [*_usual_places(split, file, root), root]
    hits: dict[Path, set[str]] = {}
    for folder in chain(usual, _folders_below(root, DEPTH), [file.parent]):
        if folder not in hits and folder.is_dir():
            hits[folder] = {name for name in sample if is_file(folder / name)}
            if folder in usual and 2 * len(hits[folder]) > len(sample):  # some may be missing
                return folder
    best = max(hits, key=lambda folder: len(hits[folder]))
    if not hits[best]:  # names that are wrong, and images that are missing, are for the check
        there = (folder for folder in usual if folder in hits)
        return next((folder for folder in there if has_files(folder, *IMAGE_SUFFIXES)), root)
    if best not in usual:
        _check_only_one(file, best, hits)
    return best


def _check_only_one(file: Path, best: Path, hits: dict[Path, set[str]]) -> None:
    """Refuses images that other folders have, too: equal names are often of different images."""
    for folder, names in hits.items():
        both = names & hits[best]
        if both and folder.resolve() != best.resolve():
            raise UserError(
                f"{file}: which images are meant? {min(both)} is in {short_path(best)} and in "
                f"{short_path(folder)}. Name the folder by --images, or in a description "
                "(.yaml); or write it into file_name"
            )


def _usual_places(split: SplitName, file: Path, root: Path) -> Iterator[Path]:
    """Where images of a split may lie, the most usual place first."""
    if file.parent != root and file.parent.name.lower() != "annotations":
        yield from (file.parent, file.parent / "images", file.parent / "data")
    for name in dict.fromkeys([file.stem.rpartition("_")[2], *ALIASES[split]]):
        yield from (root / name, root / "images" / name, root / name / "images")
    yield from (root / "images", root / "data", root / "JPEGImages")


def _folders_below(folder: Path, depth: int) -> Iterator[Path]:
    for inner in subfolders(folder):
        yield inner
        if depth > 1:
            yield from _folders_below(inner, depth - 1)


def coco_facts(
    read: dict[SplitName, CocoFile | None], wanted: Sequence[str] | None, findings: Findings
) -> CocoFacts:
    """Classes and masks of a set by its annotation files; those not read are left to the check.

    The category with the id 0 that no object has is left out and noted: Roboflow puts the name of
    the set there.

    Args:
        wanted: the classes that will be used; None: all.
        findings: takes classes of a split that differ from those of the first.

    Raises:
        UserError: no class names.
    """
    contents = {split: content for split, content in read.items() if content is not None}
    used: set[int] = set()
    masks = objects = 0
    for content in contents.values():
        for annotation in content.annotations or ():
            objects += 1
            masks += not is_empty(annotation.segmentation)
            if isinstance(annotation.category_id, int):
                used.add(annotation.category_id)
    spare = bool(used) and 0 not in used
    names = {content.path: _names(content, spare, findings) for content in contents.values()}
    first = next((file for file in names if names[file]), None)
    if first is None:
        listed = shortlist([str(file) for file in names])
        raise UserError(f"{listed}: no class names; categories need an id and a name")
    compare_classes(names, first, wanted, findings)
    return CocoFacts(names[first], masks=2 * masks > objects)


def _names(content: CocoFile, spare: bool, findings: Findings) -> list[str]:
    """Category names; ``spare``: no object has the id 0."""
    for category in content.categories:
        if spare and category.id == 0:
            findings.note(
                f"category 0, {category.name!r}, is not a class: no object of any split has it"
            )
    return [
        category.name
        for category in content.categories
        if isinstance(category.name, str) and not (spare and category.id == 0)
    ]
