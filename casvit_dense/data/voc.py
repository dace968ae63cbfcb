"""Pascal VOC's layout: an XML file an image, and lists of the images of each split.

Read by our own code: hotcoco's reader takes no lists, sees one flat folder and stops at the first
wrong file.
"""

from pathlib import Path
from typing import Final
from xml.etree import ElementTree
from xml.parsers import expat

from casvit_dense.data.description import Split, SplitName
from casvit_dense.data.layout_files import files_below, has_files, split_folders

IMAGE_FOLDERS: Final = ("JPEGImages", "images", "Images", "img")

#: Lists of images by split; the second where VOC's own are not divided.
LISTS: Final[dict[SplitName, tuple[str, ...]]] = {
    "train": ("train.txt", "trainval.txt"),
    "val": ("val.txt", "valid.txt"),
    "test": ("test.txt",),
}


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
    if annotations == root or not has_files(annotations, ".xml"):
        return {}
    lists = root / "ImageSets" / "Main"
    files = {
        split: file
        for split, names in LISTS.items()
        if (file := next((lists / n for n in names if (lists / n).is_file()), None)) is not None
    }
    images = _images(root)
    if not files:
        return {"train": Split(images=images, annotations=annotations)}
    return {
        split: Split(images=images, annotations=annotations, files=file)
        for split, file in files.items()
    }


def _annotations(folder: Path) -> Path:
    places = (folder / "Annotations", folder / "annotations")
    return next((place for place in places if place.is_dir()), folder)


def _images(folder: Path) -> Path:
    places = (folder / name for name in IMAGE_FOLDERS)
    return next((place for place in places if place.is_dir()), folder)


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
