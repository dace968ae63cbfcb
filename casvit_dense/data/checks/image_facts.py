"""Facts of image files: format, upright size, and whether they can be read.

Headers and the last bytes are read, which is enough for most files; what looks odd is decoded.
"""

import hashlib
import os
import stat
import tempfile
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from PIL import Image

from casvit_dense.data.checks.file_cache import look_at

#: The tag of EXIF that says how an image was held. OpenCV, which reads images for training, turns
#: those of these formats.
ORIENTATION: Final = 0x0112
TURNED_FORMATS: Final = ("JPEG", "MPO", "PNG")

#: What the last bytes of a whole file hold.
ENDS: Final = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
TAIL: Final = 64

#: What is wrong with a file, in words.
PROBLEMS: Final = {
    "missing": "does not exist",
    "no-file": "is no file",
    "denied": "may not be read",
    "empty": "is empty",
    "no-image": "is not an image",
    "damaged": "is truncated or damaged",
    "huge": "is larger than Pillow reads",
}


class ImageFacts(NamedTuple):
    """What a file is.

    Attributes:
        problem: a key of `PROBLEMS`, or empty.
        detail: what system or decoder say about the problem.
        bytes: size of the file.
        format: as Pillow calls it, e.g. ``'JPEG'``.
        mode: Pillow's name for channels and depth, e.g. ``'RGB'``.
        width, height: in pixels, upright: after EXIF's orientation, as training reads the image.
        turned: by that orientation, a quarter.
        ending: checksum of the last bytes, in which images of one size differ.
    """

    problem: str = ""
    detail: str = ""
    bytes: int = 0
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    turned: bool = False
    ending: int = 0

    def __str__(self) -> str:
        if self.problem:
            return PROBLEMS[self.problem] + (f" ({self.detail})" if self.detail else "")
        return f"{self.format} {self.width} x {self.height}"


def image_facts(paths: Iterable[Path], deep: bool = False) -> dict[Path, ImageFacts]:
    """The facts of many images, from the cache or by all cores.

    Args:
        deep: decode every image as a whole.
    """
    if deep:
        found = look_at(paths, read_deep, "image decoded", "decoded image")
    else:
        found = look_at(paths, read_header, "image", "image")
    return {path: ImageFacts(*facts) for path, facts in found.items()}


def digests(paths: Iterable[Path]) -> dict[Path, str]:
    """A hash of the content of each file; empty for those that cannot be read."""
    return look_at(paths, _digest, "content", "possible copy")


def read_header(path: str) -> ImageFacts:
    """The facts of an image; it is decoded only if its end is not that of a whole file."""
    return _read(path, deep=False)


def read_deep(path: str) -> ImageFacts:
    """The facts of an image that is decoded as a whole, as training does it."""
    return _read(path, deep=True)


def _read(path: str, deep: bool) -> ImageFacts:
    found = open_file(path)
    if isinstance(found, ImageFacts):
        return found
    with found as file:
        facts = _header(file, os.fstat(file.fileno()).st_size)
        if facts.problem:
            return facts
        file.seek(max(0, facts.bytes - TAIL))
        tail = file.read()
        facts = facts._replace(ending=zlib.crc32(tail))
        end = ENDS.get(facts.format)
        if deep or end is None or end not in tail:
            complaint = _decode(file, facts)
            if complaint:
                facts = facts._replace(problem="damaged", detail=complaint)
    return facts


def open_file(path: str) -> BinaryIO | ImageFacts:
    """A file that is open and not empty, or what is wrong with it."""
    try:
        status = os.stat(path)  # noqa: PTH116 (many files)
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            return ImageFacts("no-file", "a folder" if stat.S_ISDIR(status.st_mode) else "")
        if not status.st_size:
            return ImageFacts("empty")
        return open(path, "rb")  # noqa: PTH123
    except FileNotFoundError:
        link = os.path.islink(path)  # noqa: PTH114
        return ImageFacts("missing", "a broken link" if link else "")
    except ValueError as error:  # characters that no file name has
        return ImageFacts("missing", str(error))
    except OSError as error:
        return ImageFacts("denied", error.strerror or "")


def _header(file: BinaryIO, size: int) -> ImageFacts:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of large or odd images
        try:
            image = Image.open(file)
            turned = image.format in TURNED_FORMATS and _orientation(image) >= 5
        except Image.DecompressionBombError as error:
            return ImageFacts("huge", str(error).partition(",")[0], size)
        except Exception:  # damaged headers raise many kinds
            return ImageFacts("no-image", bytes=size)
    width, height = image.size[::-1] if turned else image.size
    return ImageFacts("", "", size, image.format or "", image.mode, width, height, turned)


def _orientation(image: Image.Image) -> int:
    """EXIF's number; 5 to 8 turn a quarter. ``Image.getexif`` would decode a PNG as a whole."""
    content = image.info.get("exif")
    if not content:
        return 1
    exif = Image.Exif()
    try:
        exif.load(content)
        return int(exif.get(ORIENTATION, 1))
    except Exception:  # damaged EXIF raises many kinds; decoders pass over it
        return 1


def _decode(file: BinaryIO, facts: ImageFacts) -> str:
    """Decodes with OpenCV, which reads images for training; returns its complaint, if any."""
    import cv2
    import numpy as np

    file.seek(0)
    content = file.read()
    if facts.format in ENDS:
        content = content.rstrip(b"\0")  # of a copy that broke off; OpenCV takes zeros for pixels
    # Its decoders write to the standard error of the process; nowhere else do they say that the
    # rest of a JPEG was missing and made up.
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error as error:
            return str(error.err)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        messages.seek(0)
        said = messages.read().decode(errors="replace").strip()
    if image is None:
        return said.splitlines()[-1] if said else "OpenCV cannot read it"
    return said if "premature end" in said else ""


def _digest(path: str) -> str:
    try:
        return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()
    except (OSError, ValueError):
        return ""
