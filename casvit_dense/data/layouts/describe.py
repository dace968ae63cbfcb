"""Finds out how a data set lies on disk: a path in, a description out."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from casvit_dense.data.class_names import same_but_for_form
from casvit_dense.data.description import (
    DataDescription,
    Division,
    Split,
    SplitName,
    read_description,
)
from casvit_dense.data.findings import KINDS, Findings
from casvit_dense.data.foreign import foreign_files
from casvit_dense.data.layouts.coco import (
    ROBOFLOW,
    annotation_files,
    coco_facts,
    image_folder,
    read_files,
    root_of,
)
from casvit_dense.data.layouts.files import (
    class_file,
    class_list,
    compare_classes,
    files_in,
    images_below,
    read_class_file,
    read_colours,
    split_of,
    subfolders,
)
from casvit_dense.data.layouts.left_out import find_left_out, unread_files
from casvit_dense.data.layouts.maps import (
    ADE20K,
    ADE20K_CLASSES,
    CITYSCAPES_CLASSES,
    TRAIN_IDS,
    find_maps,
    find_suffixes,
)
from casvit_dense.data.layouts.voc import find_voc, voc_classes
from casvit_dense.data.layouts.yolo import has_polygons, read_texts, yolo_of_folders, yolo_of_yaml
from casvit_dense.errors import UserError, shortlist, validation_message
from casvit_dense.options import LayoutOptions

CLASSES_ALIKE = KINDS["classes-alike"]

Splits = dict[SplitName, Split]

LAYOUTS = (
    "COCO files (annotations/*.json, train/_annotations.coco.json, …), YOLO (data.yaml, or images "
    "and labels), Pascal VOC (Annotations/*.xml), images and index maps (images and masks, labels "
    "or annotations, with train and val in or above them; train and trainannot)"
)


class NothingFoundError(UserError):
    """There are no data of a known layout."""


def describe(
    path: Path, options: LayoutOptions | None = None, findings: Findings | None = None
) -> DataDescription:
    """Finds layout, splits and classes of the data set at a path.

    Args:
        path: folder, COCO file, YOLO's ``data.yaml``, or a description written by a person.
        findings: takes what was left out and what does not fit together; None: errors are raised.

    Raises:
        UserError: there are no data of a known layout, or something cannot be guessed; it says
            what was looked for, what is there and what to give.
    """
    own = Findings() if findings is None else findings
    options = options or LayoutOptions()
    path = path.expanduser()
    if not path.exists():
        raise UserError(f"no file or folder {path}")
    try:
        found = _describe(path.absolute(), options, own)
        _check_used(found, options, path)
        divided = _with_division(found, options, path)
    except ValidationError as error:
        raise UserError(f"{path}: {validation_message(error)}") from error
    _look_for_doubts(divided, path, own)
    if findings is None:
        own.raise_errors()
    return divided


def _look_for_doubts(found: DataDescription, path: Path, findings: Findings) -> None:
    """Says what a person may have meant otherwise."""
    for number, name in enumerate(found.classes):
        if other := same_but_for_form(name, found.classes[:number]):
            findings.add(CLASSES_ALIKE, path, f"{other!r} and {name!r}")
    val = found.splits.get("val")
    if "train" in found.splits and (val is None or val.annotations is None) and not found.division:
        findings.note(
            "no val: a training goes without validation and chooses no best checkpoint; --split "
            "0.8 holds a fifth of the images out"
        )


def _check_used(found: DataDescription, options: LayoutOptions, path: Path) -> None:
    """Refuses what was said of the data and has no effect on them."""
    unused = {
        "--ignore-label": options.ignore_label is not None and found.task == "detection",
        "--images": options.images is not None and found.layout not in ("coco", "roboflow"),
        "--group-by": options.group_by is not None and options.split is None,
    }
    for flag, is_unused in unused.items():
        if is_unused:
            reason = "is for --split" if flag == "--group-by" else "does not fit them"
            raise UserError(
                f"{path}: data for {found.task}, layout {found.layout}; {flag} {reason}: leave it "
                "out"
            )


def _describe(path: Path, options: LayoutOptions, findings: Findings) -> DataDescription:
    if path.is_file():
        return _describe_file(path, options, findings)
    for file in files_in(path, ".yaml", ".yml"):
        content = read_texts(file)
        if "splits" in content or "names" in content:
            return _describe_file(file, options, findings)
    tasks = (_detection, _segmentation)
    for look in tasks[::-1] if options.task == "segmentation" else tasks:
        if found := look(path, options, findings):
            find_left_out(path, found, findings)
            return found
    if unread := list(unread_files(path)):
        raise UserError(
            f"{path}: {shortlist([file.name for file in unread])}: packed, or a folder with the "
            "name of an annotation file; unpack it, so that a file .json is in its place"
        )
    inner = subfolders(path)
    if len(inner) == 1 and not inner[0].is_symlink():  # as unpacked
        try:
            return _describe(inner[0], options, findings)
        except NothingFoundError:
            if not foreign_files(path):  # which are beside the folder
                raise
    names = shortlist([folder.name + "/" for folder in inner] + [f.name for f in files_in(path)])
    raise NothingFoundError(
        f"{path}: no data set of a known layout was found. Looked for: {LAYOUTS}. There are: "
        f"{names}.{foreign_files(path)} Give the folder that holds the set, an annotation file, or "
        "a description (.yaml)"
    )


def _detection(path: Path, options: LayoutOptions, findings: Findings) -> DataDescription | None:
    if files := annotation_files(path):
        return _coco(files, path, options, findings)
    if splits := yolo_of_folders(path):
        found = class_file(path, path / "labels")
        return _yolo(path, splits, read_class_file(found) if found else None, options)
    if splits := find_voc(path):
        return _voc(path, splits, options)
    return None


def _segmentation(path: Path, options: LayoutOptions, findings: Findings) -> DataDescription | None:
    splits = find_maps(path)
    return _maps(path, splits, options, findings) if splits else None


def _describe_file(path: Path, options: LayoutOptions, findings: Findings) -> DataDescription:
    if path.suffix.lower() == ".json":
        return _coco({split_of(path): path}, root_of(path), options, findings)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise UserError(f"{path}: give a folder, a COCO file (.json) or a description (.yaml)")
    if "names" in read_texts(path):
        return _yolo(path, *yolo_of_yaml(path), options)
    found = read_description(path)
    changes: dict[str, Any] = {}
    if options.classes is not None:
        changes["classes"] = class_list(options.classes)
    if options.ignore_label is not None:
        changes["ignore_label"] = options.ignore_label
    return DataDescription(**(dict(found) | changes))


def _with_division(found: DataDescription, options: LayoutOptions, path: Path) -> DataDescription:
    if options.split is None:
        return found
    if "train" not in found.splits or "val" in found.splits:
        raise UserError(
            f"{path}: has the splits {shortlist(list(found.splits))}; only a set of train without "
            "val can be divided"
        )
    division = Division(share=options.split, seed=options.seed or 0, group_by=options.group_by)
    return found.model_copy(update={"division": division})


def _coco(
    files: dict[SplitName, Path], root: Path, options: LayoutOptions, findings: Findings
) -> DataDescription:
    if options.images is not None and not options.images.is_dir():
        raise UserError(f"no image folder {options.images}")
    read = read_files(files, findings)
    splits = {
        name: Split(
            images=options.images or image_folder(name, file, root, read[name]), annotations=file
        )
        for name, file in files.items()
    }
    wanted = None if options.classes is None else class_list(options.classes)
    facts = coco_facts(read, wanted, findings)
    classes = facts.classes
    if wanted is not None:
        _check_known(wanted, classes, root)
        classes = [name for name in classes if name in wanted]  # mmdet keeps the file's order
    roboflow = all(file.name == ROBOFLOW for file in files.values())
    return DataDescription(
        task="detection",
        layout="roboflow" if roboflow else "coco",
        classes=classes,
        masks=facts.masks,
        splits=splits,
    )


def _check_known(wanted: list[str], known: list[str], path: Path) -> None:
    if unknown := [name for name in wanted if name not in known]:
        alike = [
            f"write {right!r} for {name!r}"
            for name in unknown
            if (right := same_but_for_form(name, known))
        ]
        raise UserError(
            f"{path}: has no class {shortlist(unknown)}; its classes are "
            + "; ".join([shortlist(known, 20), *alike])
        )


def _yolo(
    path: Path, splits: Splits, classes: list[str] | None, options: LayoutOptions
) -> DataDescription:
    if options.classes is not None:
        given = class_list(options.classes)
        if classes is not None and len(given) != len(classes):
            raise UserError(
                f"{path}: has {len(classes)} classes ({shortlist(classes)}), "
                f"{len(given)} are given ({shortlist(given)}); labels are numbers, give all names"
            )
        classes = given
    if classes is None:
        raise UserError(f"{path}: no class names (data.yaml with names, classes.txt); give them")
    return DataDescription(
        task="detection", layout="yolo", classes=classes, masks=has_polygons(splits), splits=splits
    )


def _voc(path: Path, splits: Splits, options: LayoutOptions) -> DataDescription:
    found = class_file(path)
    if options.classes is not None:
        classes = class_list(options.classes)
    else:
        classes = read_class_file(found) if found else voc_classes(splits)
    return DataDescription(task="detection", layout="voc", classes=classes, splits=splits)


def _maps(
    path: Path, splits: Splits, options: LayoutOptions, findings: Findings
) -> DataDescription:
    suffixes = find_suffixes(splits)
    first = next(images_below(next(iter(splits.values())).images))
    folders = [split.images for split in splits.values()]
    found = class_file(path, *(place for images in folders for place in (images.parent, images)))
    classes = read_class_file(ADE20K_CLASSES)
    own: list[str] | None = None
    colours: list[tuple[int, int, int]] = []
    if options.classes is not None:
        own = class_list(options.classes)
    elif found is not None:
        own, colours = read_class_file(found), read_colours(found)
        lists = {file for images in folders if (file := class_file(images.parent, images))}
        compare_classes(
            {file: read_class_file(file) for file in sorted({found, *lists})}, found, None, findings
        )
    elif suffixes.map.endswith(TRAIN_IDS):
        own = read_class_file(CITYSCAPES_CLASSES)
    # Maps of other classes may have been made for ADE20K's images.
    ade20k = ADE20K.match(first.name) is not None and len(own or classes) == len(classes)
    zero = ade20k
    if own is not None:
        classes = own
    elif not ade20k:
        raise UserError(
            f"{path}: index maps without class names; put a file classes.txt with one a line "
            "(the first is label 0) into the folder, or give --classes a,b,c or --classes FILE"
        )
    ignored: dict[str, Any] = {}
    if options.ignore_label == 0:  # what no class has: labels count from 1
        zero = True
    elif options.ignore_label is not None:
        ignored["ignore_label"] = options.ignore_label
        if options.ignore_label == len(classes) - 1:  # the list names it, too
            classes = classes[:-1]
    return DataDescription(
        task="segmentation",
        layout="ade20k" if ade20k else "maps",
        classes=classes,
        splits=splits,
        image_suffix=suffixes.image,
        map_suffix=suffixes.map,
        colours=colours,
        reduce_zero_label=zero,
        **ignored,
    )
