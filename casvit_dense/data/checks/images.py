"""Checks of image files: whether they are there, can be read, and are what the records say."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import Final, TypeVar

from casvit_dense.data.checks.image_facts import ImageFacts, digests, image_facts
from casvit_dense.data.findings import EXAMPLES, KINDS, Findings
from casvit_dense.files import short_path
from casvit_dense.progress import counted

FOLDER_MISSING = KINDS["image-folder-missing"]
IMAGE_MISSING = KINDS["image-missing"]
IMAGE_UNREADABLE = KINDS["image-unreadable"]
IMAGE_EMPTY = KINDS["image-empty"]
NOT_AN_IMAGE = KINDS["image-not-an-image"]
IMAGE_DAMAGED = KINDS["image-damaged"]
IMAGE_HUGE = KINDS["image-huge"]
IMAGE_SIZE = KINDS["image-size-differs"]
IMAGE_ORIENTATION = KINDS["image-orientation"]
IMAGE_TWICE = KINDS["image-twice"]
IMAGE_SHARED = KINDS["image-shared"]

#: Kind of finding by the problem of a file.
BY_PROBLEM: Final = {
    "missing": IMAGE_MISSING,
    "no-file": IMAGE_UNREADABLE,
    "denied": IMAGE_UNREADABLE,
    "empty": IMAGE_EMPTY,
    "no-image": NOT_AN_IMAGE,
    "damaged": IMAGE_DAMAGED,
    "huge": IMAGE_HUGE,
}

Item = TypeVar("Item")


def check_images(
    images: Path,
    records: Mapping[str, tuple[int, int]],
    findings: Findings,
    *,
    deep: bool = False,
    sample: int | None = None,
) -> None:
    """Compares the images of an annotation file with the files.

    Args:
        images: their folder.
        records: width and height by ``file_name``.
        deep: decode every image as a whole.
        sample: read at most so many files, evenly spread. That all exist is checked anyway.
    """
    if not images.is_dir():
        findings.add(FOLDER_MISSING, images)
        return
    folders = _list_folders(images / name for name in records)
    present, absent = {}, []
    for name in records:
        path = images / name
        if path.name in folders[path.parent]:
            present[name] = path
        else:
            absent.append(name)
    for number, name in enumerate(absent):
        hint = _hint(images, name) if number < EXAMPLES else ""
        findings.add(IMAGE_MISSING, images, name, hint)
    looked_at = spread(list(present), sample)
    facts = check_files(images, [present[name] for name in looked_at], findings, deep)
    for name in looked_at:
        found = facts[present[name]]
        if not found.problem:
            _compare_size(images, name, found, records[name], findings)
    if len(looked_at) == len(present):
        check_duplicates(images, facts, findings)


def check_files(
    folder: Path, paths: Iterable[Path], findings: Findings, deep: bool = False
) -> dict[Path, ImageFacts]:
    """Looks for files that cannot be read as images; returns the facts of all."""
    facts = image_facts(paths, deep)
    for path, found in facts.items():
        if found.problem:
            kind = BY_PROBLEM[found.problem]
            findings.add(kind, folder, short(path, folder), str(found))
    return facts


def check_duplicates(folder: Path, facts: Mapping[Path, ImageFacts], findings: Findings) -> None:
    """Looks for images of one split with the same content."""
    for (_, first), *others in _same_content([("", path) for path in facts], facts):
        for _, other in others:
            where = f"{short(other, folder)} = {short(first, folder)}"
            findings.add(IMAGE_TWICE, folder, where)


def check_shared(splits: Mapping[str, Sequence[Path]], findings: Findings) -> None:
    """Looks for images with the same content in two splits.

    Args:
        splits: image files by the name of their split.
    """
    files = [(name, path) for name, paths in splits.items() for path in paths]
    for group in _same_content(files, image_facts(path for _, path in files)):
        first: dict[str, Path] = {}
        for name, path in group:
            first.setdefault(name, path)
        for (one, path), (other, copy) in combinations(first.items(), 2):
            findings.add(
                IMAGE_SHARED, f"{one} and {other}", f"{short_path(path)} = {short_path(copy)}"
            )


def note_unlisted(splits: Mapping[str, Sequence[Path]], findings: Findings) -> None:
    """Notes images that lie beside those of the splits and belong to none.

    Args:
        splits: image files by the name of their split.
    """
    listed: dict[Path, set[str]] = defaultdict(set)
    for path in chain.from_iterable(splits.values()):
        listed[path.parent].add(path.name)
    for folder, names in listed.items():
        suffixes = {Path(name).suffix for name in names}
        there = _list_folders([folder / "_"])[folder]
        count = sum(Path(name).suffix in suffixes for name in there - names)
        if count and not names.isdisjoint(there):  # else all are missing, which is an error
            findings.note(
                f"{short_path(folder)}: {counted(count, 'image')} not listed, so not used"
            )


def _same_content(
    files: Sequence[tuple[str, Path]], facts: Mapping[Path, ImageFacts]
) -> list[list[tuple[str, Path]]]:
    """Groups of files, each with the name of its split, that hold the same bytes."""
    alike: dict[object, list[tuple[str, Path]]] = defaultdict(list)
    for name, path in files:
        alike[facts[path].bytes, facts[path].ending].append((name, path))
    alike.pop((0, 0), None)  # those that could not be read
    several = [file for group in alike.values() if len(group) > 1 for file in group]
    found = digests(path for _, path in several)
    same: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for name, path in several:
        same[found[path]].append((name, path))
    same.pop("", None)
    return [group for group in same.values() if len(group) > 1]


def spread(items: Sequence[Item], count: int | None) -> Sequence[Item]:
    """At most so many items, at even distances."""
    if count is None or len(items) <= count:
        return items
    return [items[index * len(items) // count] for index in range(count)]


def short(path: Path, folder: Path) -> str:
    """A path below a folder, without the folder."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _list_folders(paths: Iterable[Path]) -> dict[Path, set[str]]:
    """The names in the folders of some files: far faster than to ask for each file."""
    folders: dict[Path, set[str]] = {}
    for path in paths:
        if path.parent not in folders:
            try:
                folders[path.parent] = set(os.listdir(path.parent))  # noqa: PTH208
            except (OSError, ValueError):
                folders[path.parent] = set()
    return folders


def _hint(images: Path, name: str) -> str:
    """Where the image is instead, if that can be seen."""
    if "\\" in name:
        return f"has backslashes: {name!r}"
    path = images / name
    for folder in (path.parent, images):
        try:
            names = os.listdir(folder)  # noqa: PTH208
        except (OSError, ValueError):
            continue
        for there in names:
            place = short(folder / there, images)
            if there == path.name:
                return f"{place} is there: file_name holds another folder"
            if there.lower() == path.name.lower():
                return f"{place} is there: upper and lower case differ"
        for there in names:
            if Path(there).stem == path.stem:
                return f"{short(folder / there, images)} is there: the suffix differs"
    return ""


def _compare_size(
    images: Path, name: str, found: ImageFacts, record: tuple[int, int], findings: Findings
) -> None:
    size = (found.width, found.height)
    if size == record:
        return
    swapped = size == record[::-1]
    kind = IMAGE_ORIENTATION if swapped and found.turned else IMAGE_SIZE
    example = f"{size[0]} x {size[1]} in the file, {record[0]} x {record[1]} in its record"
    findings.add(kind, images, name, example + ", swapped" * swapped)
