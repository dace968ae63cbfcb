"""Names by which people call splits, images and lists of classes, and looking for them on disk."""

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, get_args

from casvit_dense.data.class_names import difference
from casvit_dense.data.description import SplitName
from casvit_dense.data.findings import KINDS, Findings
from casvit_dense.data.map_pairs import names_in
from casvit_dense.errors import UserError
from casvit_dense.files import is_file, short_path

SPLIT_CLASSES = KINDS["split-classes-differ"]

#: Endings by which image files are recognised, in lower case.
IMAGE_SUFFIXES: Final = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

#: What a split's folder is called, the usual name first.
ALIASES: Final[dict[SplitName, tuple[str, ...]]] = {
    "train": ("train", "training", "train2017", "train2014"),
    "val": ("val", "valid", "validation", "val2017", "val2014"),
    "test": ("test", "testing", "test2017"),
}
SPLIT_NAMES: Final[tuple[SplitName, ...]] = get_args(SplitName)

#: Lists of images by split; the second where a set is divided into two parts only.
LISTS: Final[dict[SplitName, tuple[str, ...]]] = {
    "train": ("train.txt", "trainval.txt"),
    "val": ("val.txt", "valid.txt"),
    "test": ("test.txt",),
}

#: Files with a class name a line.
CLASS_FILES: Final = (
    *("classes.txt", "names.txt", "labels.txt", "obj.names"),
    *("class_dict.csv", "_classes.csv"),
)


def split_in(name: str) -> SplitName | None:
    """The split that a file or folder name speaks of; ``trainval`` is for training."""
    for split, pattern in (("train", "train"), ("val", "val|(^|[^a-z])dev"), ("test", "test")):
        if re.search(pattern, name.lower()):
            return split  # type: ignore[return-value]
    return None


def split_of(file: Path) -> SplitName:
    """The split that a single annotation file is of: by its name, its folder's, else train."""
    folders = {alias: split for split, aliases in ALIASES.items() for alias in aliases}
    return split_in(file.stem) or folders.get(file.parent.name.lower(), "train")


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder by name, without hidden ones."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(
            Path(entry) for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        )


def one_of(folder: Path, names: Sequence[str]) -> Path | None:
    """The first folder in a folder that has one of these names, given in lower case."""
    there = {inner.name.lower(): inner for inner in subfolders(folder)}
    return next((there[name] for name in names if name in there), None)


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """The files in a folder by name, without hidden ones; suffixes in lower case."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(
            Path(entry)
            for entry in entries
            if (not suffixes or entry.name.lower().endswith(suffixes))
            and not entry.name.startswith(".")
            and entry.is_file()
        )


def files_below(folder: Path, *suffixes: str) -> Iterator[Path]:
    """The files in and below a folder, by name; suffixes in lower case."""
    names = names_in(folder)
    return (folder / name for name in names if name.lower().endswith(suffixes))


def images_below(folder: Path) -> Iterator[Path]:
    """The images in and below a folder, by name."""
    return files_below(folder, *IMAGE_SUFFIXES)


def has_files(folder: Path, *suffixes: str) -> bool:
    """Whether such a file lies in or below a folder."""
    return next(files_below(folder, *suffixes), None) is not None


def has_pairs(folder: Path, suffix: str) -> bool:
    """Whether such a file lies beside an image of its name, in or below a folder."""
    images = {image.with_suffix("") for image in images_below(folder)}
    return any(file.with_suffix("") in images for file in files_below(folder, suffix))


def split_lists(folder: Path) -> dict[SplitName, Path]:
    """The files in a folder that list the images of each split."""
    found: dict[SplitName, Path] = {}
    for split, names in LISTS.items():
        for name in reversed(names):
            if (folder / name).is_file():
                found[split] = folder / name
    return found


def split_folders(folder: Path) -> dict[SplitName, Path]:
    """The folders in a folder that are called as splits are."""
    names = {inner.name.lower(): inner for inner in subfolders(folder)}
    return {
        split: names[alias]
        for split, aliases in ALIASES.items()
        for alias in reversed(aliases)
        if alias in names
    }


def class_list(given: str) -> list[str]:
    """Class names from ``a,b,c`` or from a file with one a line.

    Raises:
        UserError: no names, a name twice, or the file cannot be read.
    """
    file = Path(given)
    if is_file(file):
        return read_class_file(file)
    if file.suffix in (".txt", ".csv", ".names") or "/" in given:
        raise UserError(f"no file of classes {given}")
    return _distinct([name.strip() for name in given.split(",")], given)


def read_class_file(file: Path) -> list[str]:
    """Class names from a text file: one a line, or the column ``name`` of a CSV file.

    Raises:
        UserError: it cannot be read, holds none, or one twice.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not text in UTF-8 ({error})") from error
    if file.suffix == ".csv":
        try:
            lines = _column(lines)
        except csv.Error as error:
            raise UserError(f"{file}: not a table ({error})") from error
    return _distinct([line.strip() for line in lines if line.strip()], str(file))


def _column(lines: list[str]) -> list[str]:
    """The names in a table with a head: of the column name or class, else of the first."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines) if any(row)]
    head = [cell.lower() for cell in rows[0]] if rows else []
    number = next((head.index(name) for name in ("name", "class") if name in head), 0)
    return [row[number] for row in rows[1:] if number < len(row)]


def read_colours(file: Path) -> list[tuple[int, int, int]]:
    """The columns r, g and b of a table of class names; none without these."""
    if file.suffix != ".csv":
        return []
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    rows = [[cell.strip().lower() for cell in row] for row in csv.reader(lines) if any(row)]
    try:
        red, green, blue = map(rows[0].index, "rgb")
        return [(int(row[red]), int(row[green]), int(row[blue])) for row in rows[1:]]
    except (IndexError, ValueError):
        return []


def _distinct(names: Sequence[str], source: str) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or not all(names) or twice:
        problem = f"the class {twice[0]} is there twice" if twice and twice[0] else "an empty name"
        raise UserError(f"{source}: {problem if names else 'no class names'}")
    return list(names)


def class_file(*folders: Path) -> Path | None:
    """The first file of class names in the folders."""
    places = (folder / name for folder in folders for name in CLASS_FILES)
    return next((place for place in places if place.is_file()), None)


def compare_classes(
    names: Mapping[Path, Sequence[str]],
    first: Path,
    wanted: Sequence[str] | None,
    findings: Findings,
) -> None:
    """Finds files of splits whose class names are not those of the first.

    Args:
        names: class names by file.
        wanted: the classes that will be used; None: all.
    """
    used = {
        file: [name for name in classes if wanted is None or name in wanted]
        for file, classes in names.items()
    }
    for file, classes in used.items():
        if classes != used[first]:
            example = difference(used[first], classes, str(short_path(first)), "this one")
            findings.add(SPLIT_CLASSES, file, example=example)
