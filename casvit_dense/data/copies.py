"""Copies of images and of their truth, as data sets of their own."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from casvit_dense.data.coco_file import CocoFile, write_coco
from casvit_dense.data.description import DataDescription, Split, SplitName, write_description
from casvit_dense.errors import UserError
from casvit_dense.progress import Progress

#: The description of a copy, in its folder.
DESCRIPTION: Final = "data.yaml"

Log = Callable[[str], None]


def check_outside(out: Path, *sources: Path | None) -> None:
    """Refuses a folder in the data that it would be made of, which would then hold both.

    Raises:
        UserError: ``out`` is or lies in one of the folders.
    """
    for source in filter(None, sources):
        if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
            raise UserError(f"{out}: lies in the source {source}; give a folder outside of it")


@contextmanager
def new_folder(out: Path, description: DataDescription) -> Iterator[Path]:
    """A folder to fill, which appears as ``out`` at the end; after an error nothing appears.

    Args:
        description: of the data that it is made of.

    Raises:
        UserError: ``out`` holds files, or lies in the data.
    """
    for split in description.splits.values():
        check_outside(out, split.images, split.annotations)
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out}: holds files; give a folder that does not exist")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        unfinished = Path(scratch) / "new"
        yield unfinished
        if out.is_dir():
            out.rmdir()
        unfinished.rename(out)


def copy_coco(file: CocoFile, images: Path, out: Path, name: SplitName, log: Log) -> Split:
    """Makes a split of some records, whose images lie below a folder; file names stay inside."""
    folder, pairs = out / name, []
    for image in file.images:
        source = images / image.file_name
        image.file_name = inside(image.file_name)
        pairs.append((source, folder / image.file_name))
    link_or_copy(pairs, log)
    target = out / "annotations" / f"instances_{name}.json"
    write_coco(file, target)
    return Split(images=folder, annotations=target)


def copy_maps(
    stems: Sequence[str], description: DataDescription, out: Path, name: SplitName, log: Log
) -> Split:
    """Makes a split of some images and index maps of a split."""
    whole = description.splits[name]
    part = Split(images=out / "images" / name, annotations=out / "annotations" / name)
    folders = (
        (whole.images, part.images, description.image_suffix),
        (whole.truth, part.truth, description.map_suffix),
    )
    link_or_copy(
        [
            (source / f"{stem}{suffix}", target / inside(f"{stem}{suffix}"))
            for stem in stems
            for source, target, suffix in folders
        ],
        log,
    )
    return part


def describe_copy(
    whole: DataDescription, splits: dict[SplitName, Split], folder: Path
) -> DataDescription:
    """Writes and returns the description of a copy; COCO files lie as COCO's own do."""
    layout = whole.layout if whole.task == "segmentation" else "coco"
    copy = whole.model_copy(update={"splits": splits, "layout": layout})
    write_description(copy, folder / DESCRIPTION)
    return copy


def inside(name: str) -> str:
    """A file name that stays in its folder; lists of images may name others."""
    return "/".join(part for part in PurePosixPath(name).parts if part not in ("..", "/"))


def link_or_copy(pairs: Iterable[tuple[Path, Path]], log: Log) -> None:
    """Gives files further places, by hard links where the file system allows it.

    Args:
        pairs: source and target of each.
        log: takes lines of progress.

    Raises:
        UserError: a source is missing, or two have one target.
    """
    sources: dict[Path, Path] = {}
    for source, target in pairs:
        if sources.setdefault(target, source) != source:  # a copy would go through the first link
            raise UserError(f"{sources[target]} and {source} would both become {target.name}")
    tracked = Progress("file", len(sources), seconds=5).track(sources.items(), log)
    for target, source in tracked:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not source.is_file():
            raise UserError(f"no file {source}; casvit-dense data check names all that are missing")
        try:
            os.link(source, target)
        except OSError:  # another file system, or not allowed
            shutil.copy2(source, target)
