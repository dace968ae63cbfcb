"""The one reader of COCO annotation files: what the check accepts, the loader reads.

Records are decoded without their masks, which are nine tenths of a file and are decoded one by one
where they are needed. Harmless oddities of real exporters are repaired in memory and noted.
"""

import codecs
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from casvit_dense.data.coco_masks import NO_MASK, is_empty, mask_area
from casvit_dense.data.findings import KINDS, Findings
from casvit_dense.data.foreign import foreign_json
from casvit_dense.errors import UserError
from casvit_dense.files import is_file, short_path, write_whole

UNREADABLE = KINDS["json-unreadable"]
STRUCTURE = KINDS["coco-structure"]
AREA_ZERO = KINDS["area-zero"]

PEEK: Final = 64  # bytes in which the first bracket comes

#: Numbers that JSON does not know, or that no float holds, outside of strings.
NO_NUMBER: Final = re.compile(
    rb'"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b|-?\d+(?:\.\d+)?[eE]\+?\d{3,}'
)

ENCODINGS: Final = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Image(msgspec.Struct, gc=False):
    """A record of ``images``, values as they are in the file."""

    id: Any = UNSET
    file_name: Any = UNSET
    width: Any = UNSET
    height: Any = UNSET


class Annotation(msgspec.Struct, gc=False):
    """A record of ``annotations``; the mask is JSON still."""

    id: Any = UNSET
    image_id: Any = UNSET
    category_id: Any = UNSET
    bbox: Any = UNSET
    area: Any = UNSET
    iscrowd: Any = UNSET
    ignore: Any = UNSET
    segmentation: Raw = NO_MASK


class Category(msgspec.Struct, gc=False):
    """A record of ``categories``."""

    id: Any = UNSET
    name: Any = UNSET


#: Keys that hold whole numbers, which some exporters write as floats.
WHOLE_NUMBERS: Final = (
    ("images", ("id", "width", "height")),
    ("categories", ("id",)),
    ("annotations", ("id", "image_id", "category_id", "iscrowd")),
)


@dataclass
class CocoFile:
    """An annotation file after reading, its harmless oddities repaired.

    Attributes:
        annotations: None if the file has no such key, as those of COCO's test images.
    """

    path: Path
    images: list[Image]
    annotations: list[Annotation] | None
    categories: list[Category]


def hashable(value: object) -> bool:
    """Whether a JSON value can be looked up; lists and objects cannot."""
    return not isinstance(value, (list, dict))


def shown(value: object, length: int = 40) -> str:
    """A JSON value for a message."""
    if value is UNSET:
        return "missing"
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= length else f"{text[:length]}…"


def load_coco(path: Path) -> dict[str, Any]:
    """The content of an annotation file, as COCO's packages and mmdet index it; see `open_coco`."""
    return as_content(open_coco(path))


def as_content(file: CocoFile) -> dict[str, Any]:
    """Records as plain objects, masks included."""
    content = _records(file)
    for annotation in content.setdefault("annotations", []):
        if "segmentation" in annotation:
            annotation["segmentation"] = msgspec.json.decode(annotation["segmentation"])
    return content


def write_coco(file: CocoFile, target: Path) -> None:
    """Writes records to an annotation file, whole or not at all, without keys that they lack."""
    write_whole(target, msgspec.json.encode(_records(file)))


def _records(file: CocoFile) -> dict[str, Any]:
    """Records without the keys that they lack; masks are JSON still."""
    kinds = {"images": file.images, "annotations": file.annotations, "categories": file.categories}
    return {
        kind: [_present(r) for r in records]
        for kind, records in kinds.items()
        if records is not None
    }


def _present(record: msgspec.Struct) -> dict[str, Any]:
    values = {k: v for k, v in msgspec.structs.asdict(record).items() if v is not UNSET}
    if "segmentation" in values and is_empty(values["segmentation"]):
        del values["segmentation"]
    return values


def open_coco(path: Path) -> CocoFile:
    """Reads an annotation file.

    Raises:
        UserError: it cannot be read as a COCO file.
    """
    findings = Findings()
    file = read_coco(path, findings)
    findings.raise_errors()
    assert file is not None  # otherwise something was found
    return file


#: Files that were read since a run began to start, by path, size and time of change.
_Kept = dict[tuple[Path, int, int], tuple[CocoFile | None, Findings]]
_kept: ContextVar[_Kept | None] = ContextVar("kept", default=None)


@contextmanager
def read_once() -> Iterator[None]:
    """Keeps annotation files: describing, checks, loaders and metrics of a start read each of them.

    Nobody may change their records meanwhile. `forget_files` ends it before the first step.
    """
    _kept.set({})
    try:
        yield
    finally:
        forget_files()


def forget_files() -> None:
    """Gives back the memory of the files that `read_once` keeps."""
    _kept.set(None)


def read_coco(path: Path, findings: Findings) -> CocoFile | None:
    """Reads an annotation file and repairs what is harmless.

    Returns:
        The file; None if it has no records that could be checked, which is then among the findings.

    Raises:
        UserError: there is no such file, or it may not be read.
    """
    kept = _kept.get()
    if kept is None or not is_file(path):
        return _read(path, findings)
    state = path.stat()
    key = path, state.st_size, state.st_mtime_ns
    if key not in kept:
        found = Findings()
        kept[key] = _read(path, found), found
    file, found = kept[key]
    findings.extend(found)
    return file


def _read(path: Path, findings: Findings) -> CocoFile | None:
    text = _read_text(path, findings)
    if text is None:
        return None
    if text[:PEEK].lstrip().startswith(b"[") and (other := foreign_json(text)):
        findings.add(STRUCTURE, path, example=other)
        return None
    parts = _decode(text, dict[str, Raw], path, "the file", findings)
    if parts is None:
        return None
    absent = [key for key in ("images", "categories") if key not in parts]
    if absent:
        lacks = f"lacks {' and '.join(absent)}"
        findings.add(STRUCTURE, path, example=foreign_json(text) or lacks)
        return None
    images = _decode(parts["images"], list[Image], path, "images", findings)
    categories = _decode(parts["categories"], list[Category], path, "categories", findings)
    annotations: list[Annotation] | None = None
    if "annotations" in parts:
        annotations = _decode(parts["annotations"], list[Annotation], path, "annotations", findings)
        if annotations is None:
            return None
    if images is None or categories is None:
        return None
    file = CocoFile(path, images, annotations, categories)
    _repair(file, findings)
    return file


def _read_text(path: Path, findings: Findings) -> bytes | None:
    """The file as UTF-8 without a byte order mark, numbers that are none as strings."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"no annotation file {path}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    encoding = next((ENCODINGS[mark] for mark in ENCODINGS if content.startswith(mark)), None)
    if encoding is not None:
        try:
            content = content.decode(encoding).encode()
        except UnicodeError as error:
            findings.add(UNREADABLE, path, example=str(error))
            return None
        name = short_path(path)
        findings.note(f"{name}: begins with a byte order mark ({encoding}), which is left out")
    return content


def _decode(text: Any, kind: Any, path: Path, part: str, findings: Findings) -> Any:
    """A part of the file as records; None if it is something else, which is then found."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        if "Number out of range" not in str(error):
            findings.add(STRUCTURE, path, where=part, example=str(error).replace("`", ""))
            return None
        problem = str(error)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        problem = str(error)
    quoted = NO_NUMBER.sub(_quote, bytes(text))
    if quoted != bytes(text):
        return _decode(quoted, kind, path, part, findings)
    findings.add(UNREADABLE, path, where=part, example=problem)
    return None


def _quote(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0].startswith(b'"') else b'"' + found[0] + b'"'


def _repair(file: CocoFile, findings: Findings) -> None:
    """Reads in memory as meant what exporters write otherwise."""
    name = short_path(file.path)
    for kind, keys in WHOLE_NUMBERS:
        for key in keys:
            _mend_whole_numbers(getattr(file, kind) or [], key, f"{name}: {kind}", findings)
    annotations = file.annotations or []
    _each(
        annotations,
        lambda a: a.iscrowd is None or a.iscrowd is UNSET,
        lambda a: setattr(a, "iscrowd", 0),
        f"{name}: {{count}} annotations have no iscrowd, read as 0",
        findings,
    )
    _each(
        annotations,
        lambda a: a.area is None or a.area is UNSET,
        lambda a: setattr(a, "area", _area(a)),
        f"{name}: {{count}} annotations have no area, taken from the mask or else the box",
        findings,
    )
    for annotation in annotations:
        if annotation.area == 0 and type(annotation.area) is not bool and _area(annotation) >= 1:
            annotation.area = _area(annotation)
            findings.add(AREA_ZERO, file.path, f"annotation {annotation.id}")
    _number_anew(annotations, file.path, findings)


def _each(
    annotations: Sequence[Annotation],
    is_odd: Callable[[Annotation], bool],
    mend: Callable[[Annotation], None],
    line: str,
    findings: Findings,
) -> None:
    odd = [annotation for annotation in annotations if is_odd(annotation)]
    for annotation in odd:
        mend(annotation)
    if odd:
        findings.note(line.format(count=f"{len(odd):,}"))


def _mend_whole_numbers(records: list[Any], key: str, where: str, findings: Findings) -> None:
    odd = [
        record
        for record in records
        if type(value := getattr(record, key)) is float and value.is_integer()
    ]
    for record in odd:
        setattr(record, key, int(getattr(record, key)))
    if odd:
        findings.note(f"{where}: {len(odd):,} have the {key} written as a float, read as whole")


def _area(annotation: Annotation) -> Any:
    """Pixels of the mask, else of the box; 0 if neither can be computed."""
    area = mask_area(annotation.segmentation)
    if area is None:
        try:
            area = annotation.bbox[2] * annotation.bbox[3]
        except (TypeError, IndexError, KeyError):
            return 0
    return area if isinstance(area, (int, float)) and math.isfinite(area) else 0


def _number_anew(annotations: Sequence[Annotation], path: Path, findings: Findings) -> None:
    """Gives annotations numbers where they have none at all; evaluation uses its own anyway."""
    if annotations and all(a.id is None or a.id is UNSET for a in annotations):
        for number, annotation in enumerate(annotations, 1):
            annotation.id = number
        name = short_path(path)
        findings.note(f"{name}: the annotations have no id and are numbered as they come")
