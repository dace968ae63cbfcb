"""Looks for what is called as a split or as an annotation file, and is no part of the set found."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from casvit_dense.data.description import DataDescription
from casvit_dense.data.findings import KINDS, Findings
from casvit_dense.data.layouts.coco import ONLY_IMAGES, OTHER_TASKS, is_coco
from casvit_dense.data.layouts.files import (
    IMAGE_SUFFIXES,
    files_in,
    has_files,
    split_folders,
    split_in,
    split_of,
    subfolders,
)

SPLIT_LEFT_OUT = KINDS["split-left-out"]

#: A COCO file that somebody packed, or unpacked into a folder of its name.
NOT_READ: Final = re.compile(r"\.json(\.(gz|bz2|xz|zst|zip|7z))?$", re.IGNORECASE)


def find_left_out(root: Path, found: DataDescription, findings: Findings) -> None:
    """Finds splits that a folder seems to have besides those that were found in it."""
    known = set(found.splits)
    for path in unread_files(root):
        if split_of(path) not in known:
            known.add(split_of(path))
            what = "a folder" if path.is_dir() else "packed"
            findings.add(SPLIT_LEFT_OUT, root, _short(path, root), what, severity="error")
    for path in _unnamed_files(root, found):
        findings.add(SPLIT_LEFT_OUT, root, _short(path, root), "its name says no split")
    used = [split.images for split in found.splits.values()]
    for parent in sorted({root, *(i.parent for i in used if i.is_relative_to(root))}):
        for split, folder in split_folders(parent).items():
            is_used = any(folder.is_relative_to(images) for images in used)
            if split in known or is_used or not has_files(folder, *IMAGE_SUFFIXES):
                continue
            if split == "test":  # that nobody annotates is usual
                findings.note(f"{_short(folder, root)}: its images have no annotations, not used")
            else:
                findings.add(SPLIT_LEFT_OUT, root, _short(folder, root), "images alone")


def _unnamed_files(root: Path, found: DataDescription) -> Iterator[Path]:
    """COCO files of objects beside those of the splits, whose names say nothing known."""
    used = {split.annotations for split in found.splits.values()}
    if {file.suffix.lower() for file in used if file} != {".json"}:
        return
    for folder in {file.parent for file in used if file}:
        for file in files_in(folder, ".json"):
            is_other = file in used or file.name.startswith((*OTHER_TASKS, ONLY_IMAGES))
            if not is_other and split_in(file.stem) is None and is_coco(file):
                yield file


def unread_files(root: Path) -> Iterator[Path]:
    """What is called as a COCO file of objects, and is packed or a folder."""
    inner = split_folders(root).values()
    for folder in (root, *inner, *(place / "annotations" for place in (root, *inner))):
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        for path in entries:
            if not NOT_READ.search(path.name) or path.name.startswith((*OTHER_TASKS, ONLY_IMAGES)):
                continue
            if path.suffix.lower() != ".json" or path in subfolders(folder):
                yield path


def _short(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
