"""Pascal VOC's layout: an XML file an image, and lists of the images of each split.

Read by our own code: hotcoco's reader takes no lists, sees one flat folder and stops at the first
wrong file.
"""

import math
from pathlib import Path
from typing import Final
from xml.etree import ElementTree
from xml.parsers import expat

from casvit_dense.data.class_names import same_but_for_form
from casvit_dense.data.description import Split, SplitName
from casvit_dense.data.findings import KINDS, Kind
from casvit_dense.data.layouts.files import (
    files_below,
    has_files,
    has_pairs,
    one_of,
    split_folders,
    split_lists,
)
from casvit_dense.data.layouts.objects import Object, Report, Size

XML = KINDS["voc-xml"]
SIZE = KINDS["voc-size"]
BOX = KINDS["voc-box"]
REVERSED = KINDS["voc-box-reversed"]
OBJECT_NAME = KINDS["voc-object-name"]

IMAGE_FOLDERS: Final = ("jpegimages", "images", "img")
ANNOTATION_FOLDERS: Final = ("annotations", "labels", "xml", "xmls")


def find_voc(root: Path) -> dict[SplitName, Split]:
    """Splits of ``Annotations/*.xml``, or of XML files beside images; empty if there are none."""
    folders = {
        split: Split(images=_images(folder), annotations=_annotations(folder))
        for split, folder in split_folders(root).items()
        if has_files(_annotations(folder), ".xml")
    }
    if folders:
        return folders
    annotations = _annotations(root)
    if annotations == root:
        pairs = has_pairs(root, ".xml")
        return {"train": Split(images=root, annotations=root)} if pairs else {}
    if not has_files(annotations, ".xml"):
        return {}
    files = split_lists(root / "ImageSets" / "Main")
    images = _images(root)
    inner = split_folders(annotations)
    parts = {
        split: Split(images=folder, annotations=inner[split])
        for split, folder in split_folders(images).items()
        if split in inner and has_files(inner[split], ".xml")
    }
    if parts:
        return parts
    if not files:
        return {"train": Split(images=images, annotations=annotations)}
    return {
        split: Split(images=images, annotations=annotations, files=file)
        for split, file in files.items()
    }


def _annotations(folder: Path) -> Path:
    places = (one_of(folder, [name]) for name in ANNOTATION_FOLDERS)
    return next((place for place in places if place and has_files(place, ".xml")), folder)


def _images(folder: Path) -> Path:
    return one_of(folder, IMAGE_FOLDERS) or folder


def voc_classes(splits: dict[SplitName, Split]) -> list[str]:
    """Names of the objects in alphabetical order; files that cannot be read are left out."""
    folders = {split.annotations for split in splits.values() if split.annotations}
    names: set[str] = set()
    for folder in sorted(folders):
        for file in files_below(folder, ".xml"):
            try:
                root_element = read_xml(file)
            except (OSError, ValueError):
                continue
            names.update((o.findtext("name") or "").strip() for o in root_element.iter("object"))
    return sorted(names - {""})


def read_xml(file: Path) -> ElementTree.Element:
    """The root element of an XML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not XML, or it defines entities, which can fill the memory.
    """
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(file.read_bytes(), True)
    except (expat.ExpatError, LookupError) as error:
        raise ValueError(f"not XML ({error})") from error
    return builder.close()


def _refuse(*_: object) -> None:
    raise ValueError("defines entities")


def read_objects(
    file: Path, size: Size, classes: list[str], report: Report
) -> tuple[Size, list[Object]]:
    """Size and objects of an XML file; what cannot be read is found.

    Whole numbers are pixels counted from 1, the last included, as VOC defines them; fractions are
    edges, as some tools write them. Difficult objects become crowds, which do not count.

    Args:
        size: of the image file, which is returned if the XML file has none.
        report: takes a kind, the number of the object and what it holds.

    Raises:
        OSError, ValueError: the file cannot be read as XML.
    """
    root = read_xml(file)
    written = [_number(root.findtext(f"size/{side}")) for side in ("width", "height")]
    if all(side is not None and side >= 1 and side.is_integer() for side in written):
        size = (int(written[0] or 0), int(written[1] or 0))
    else:
        report(SIZE, None, f"{written[0]} x {written[1]}")
    objects = []
    for number, element in enumerate(root.iter("object"), 1):
        name = (element.findtext("name") or "").strip()
        found = _box(element, size)
        if isinstance(found, Kind):
            texts = [f"{edge.tag} {edge.text}" for edge in element.iterfind("bndbox/*")]
            report(found, number, ", ".join(texts) or "no bndbox")
        elif name not in classes:
            near = same_but_for_form(name, classes)
            report(OBJECT_NAME, number, name + (f" (the list has {near!r})" if near else ""))
        else:
            crowd = (element.findtext("difficult") or "").strip() == "1"
            objects.append(Object(classes.index(name), found, crowd=crowd))
    return size, objects


def _box(element: ElementTree.Element, size: Size) -> list[float] | Kind:
    """Left, upper, right and lower edge in pixels."""
    edges = [_number(element.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")]
    box = [edge for edge in edges if edge is not None]
    if len(box) < 4:
        return BOX
    if box[2] < box[0] or box[3] < box[1]:
        return REVERSED
    if all(edge.is_integer() for edge in box):
        box = [box[0] - 1, box[1] - 1, box[2], box[3]]
    # Rounding and counting from 0 may leave a pixel outside; more is for the check to tell.
    return [
        min(max(edge, 0.0), size[i % 2]) if -1 <= edge <= size[i % 2] + 1 else edge
        for i, edge in enumerate(box)
    ]


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
