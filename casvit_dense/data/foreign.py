"""Names annotation formats of other tools that are not read, and says how to get one that is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from casvit_dense.data.map_pairs import names_in

PEEK: Final = 1 << 20  # bytes of XML
SAMPLE: Final = 3  # files of a folder


def _first(content: Any) -> Any:
    """The first entry of a list."""
    return content[0] if isinstance(content, list) and content else None


def _has(content: Any, *keys: str) -> bool:
    return isinstance(content, dict) and all(key in content for key in keys)


def _is_via(content: Any) -> bool:
    images = list(content.values()) if isinstance(content, dict) else []
    return _has(content, "_via_img_metadata") or (
        bool(images) and all(_has(image, "filename", "regions") for image in images)
    )


#: How each format is recognised in parsed JSON, and what to do.
JSON_FORMATS: Final[tuple[tuple[Callable[[Any], bool], str], ...]] = (
    (
        lambda c: (
            _has(_first(c), "data")
            and any(_has(_first(c), key) for key in ("annotations", "predictions", "completions"))
        ),
        "Label Studio's own JSON, a list of tasks: export as COCO or YOLO there",
    ),
    (
        lambda c: _has(_first(c), "image", "annotations"),
        "CreateML's JSON: export as COCO",
    ),
    (
        lambda c: _has(c, "shapes") and (_has(c, "imagePath") or _has(c, "imageData")),
        "LabelMe's JSON, one file an image: make a COCO file by labelme2coco.py, which comes with "
        "LabelMe",
    ),
    (
        lambda c: _has(c, "objects", "size") or _has(c, "classes", "tags"),
        "Supervisely's JSON: export as COCO by its app Export to COCO",
    ),
    (_is_via, "VGG Image Annotator's JSON: export annotations in COCO format there"),
)
CVAT: Final = "CVAT for images: export as COCO 1.0 there"


def foreign_json(content: bytes) -> str | None:
    """Which format of another tool some JSON is, and what to do; None: of none that is known."""
    try:
        parsed = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return next((what for is_format, what in JSON_FORMATS if is_format(parsed)), None)


def foreign_files(folder: Path) -> str:
    """A sentence about files of other tools in and below a folder; empty if there are none."""
    names = names_in(folder)
    for name in [name for name in names if name.lower().endswith(".json")][:SAMPLE]:
        if what := foreign_json((folder / name).read_bytes()):
            return f" {name} is {what}."
    for name in [name for name in names if name.lower().endswith(".xml")][:SAMPLE]:
        with (folder / name).open("rb") as stream:
            if b"<annotations" in stream.read(PEEK):
                return f" {name} is {CVAT}."
    return ""
