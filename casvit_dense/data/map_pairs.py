"""Which images and index maps of a segmentation data set belong together."""

import os
from pathlib import Path

from casvit_dense.data.description import Split
from casvit_dense.errors import UserError


def image_stems(split: Split, suffix: str) -> list[str]:
    """Names of a split's images relative to their folder, without their suffix.

    Folders are searched in depth for names that end in the suffix, in its upper and lower case.

    Raises:
        UserError: the folder or the file of names cannot be read.
    """
    if split.files is not None:
        return read_list(split.files)
    if not split.images.is_dir():
        raise UserError(f"no image folder {split.images}")
    names = names_in(split.images)
    return [name.removesuffix(suffix) for name in names if name.endswith(suffix)]


def read_list(file: Path) -> list[str]:
    """The lines of a list of files, without empty ones.

    Raises:
        UserError: it cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def names_in(folder: Path) -> list[str]:
    """All files below a folder but hidden ones, as loaders list them: relative, sorted."""
    names = []
    for place, folders, files in os.walk(folder, followlinks=True):
        below = Path(place)
        folders[:] = [name for name in folders if not _leads_back(below / name)]
        names += [str((below / name).relative_to(folder)) for name in files if name[0] != "."]
    return sorted(names)


def _leads_back(folder: Path) -> bool:
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())
