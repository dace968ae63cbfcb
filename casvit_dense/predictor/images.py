"""Finds image files and reads them."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from casvit_dense.data.layouts.files import IMAGE_SUFFIXES
from casvit_dense.errors import UserError


def find_images(inputs: Iterable[str | Path], exclude: Path | None = None) -> list[Path]:
    """Image files named by files, folders and patterns.

    A file may have any suffix; a folder gives the images in it and below it, sorted; a pattern
    (``*``, ``?``, ``[]``, ``**``) gives what it matches, sorted.

    Args:
        inputs: files, folders and patterns.
        exclude: folder whose content is ignored, so that results are not the next run's input.

    Returns:
        The files in the order of the inputs, each once.

    Raises:
        UserError: an input names nothing, nothing that is an image, or only earlier results.
    """
    found: dict[Path, Path] = {}
    for name in map(str, inputs):
        expanded = list(_expand(name))
        images = [path for path in expanded if not _is_inside(path, exclude)]
        if expanded and not images:
            raise UserError(f"{name}: lies in the result folder {exclude}; choose another one")
        if not images:
            endings = " ".join(sorted(IMAGE_SUFFIXES))
            what = "no images" if os.path.lexists(name) else "no such file or folder, no match"
            raise UserError(f"{name}: {what}; give images, folders or patterns ({endings})")
        for path in images:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _expand(name: str) -> Iterator[Path]:
    path = Path(name)
    if path.is_dir():
        yield from _images_below(path)
    elif path.exists():  # before patterns: a name may hold brackets
        yield path
    else:
        matches = glob.glob(name, recursive=True)  # noqa: PTH207 (pathlib takes no absolute one)
        for match in map(Path, sorted(matches)):
            if match.is_dir():
                yield from _images_below(match)
            elif match.suffix.lower() in IMAGE_SUFFIXES:
                yield match


def _images_below(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(path for path in files if path.is_file())


def _is_inside(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.resolve().is_relative_to(folder.resolve())


def read_image(path: str | Path) -> np.ndarray:
    """Reads an image as the networks take it.

    Grey images become three equal channels, an alpha channel is dropped, 16-bit channels keep
    their upper byte, and an EXIF rotation (JPEG, PNG, TIFF) is applied.

    Args:
        path: image file.

    Returns:
        ``(H, W, 3)``, uint8, BGR.

    Raises:
        UserError: the file cannot be read, or holds no whole image.
    """
    if not Path(path).is_file() and Path(path).exists():  # a pipe would be waited for
        raise UserError(f"{path}: not a file")
    try:
        data = np.frombuffer(Path(path).read_bytes(), np.uint8)
        if not data.size:
            raise UserError(f"{path}: the file is empty")
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except cv2.error as error:
        raise UserError(f"{path}: cannot be decoded ({error.err})") from error
    if image is None:
        raise UserError(f"{path}: not an image that OpenCV reads, or a damaged one")
    return image
