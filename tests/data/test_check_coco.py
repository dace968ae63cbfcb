"""Every fault of an annotation file is found, named and of the right weight; sound files are not."""

# ruff: noqa: E501  (one line a fault)

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import CLASSES, Change, each, first, found_in, rectangle, set_box
from pycocotools import mask as rle

from casvit_dense.data.checks.coco import Use


def test_a_sound_file_gives_nothing(tmp_path: Path) -> None:
    findings = found_in(tmp_path, lambda c: None)
    assert (findings.all(), findings.notes) == ([], [])
    facts = findings.splits["train"]
    assert (facts["images"], facts["objects"], facts["objects_used"], facts["masks"]) == (
        4,
        16,
        16,
        16,
    )
    assert facts["classes"] == {"cat": 6, "dog": 5, "bird": 5}


def set_in(kind: str, key: str, value: Any, number: int = 0) -> Change:
    return lambda c: c[kind][number].update({key: value})


def set_mask(value: Any) -> Change:
    return lambda c: first(c).update(segmentation=value)


NAN = float("nan")


SQUARE = rle.encode(np.asfortranarray(np.ones((90, 120), np.uint8)))


#: name -> (change, code of the finding, severity, what its place or its example says)
FAULTS: dict[str, tuple[Change, str, str, str]] = {
    # --- structure
    "annotations as dict": (
        lambda c: c.update(annotations={str(a["id"]): a for a in c["annotations"]}),
        "coco-structure", "error", "annotations",
    ),
    "annotations a number": (lambda c: c.update(annotations=5), "coco-structure", "error", "int"),
    "annotation a number": (
        lambda c: c["annotations"].__setitem__(2, 5), "coco-structure", "error", "$[2]",
    ),
    "annotations null": (lambda c: c.update(annotations=None), "coco-structure", "error", "null"),
    "images as dict": (lambda c: c.update(images={}), "coco-structure", "error", "images"),
    "categories of names": (
        lambda c: c.update(categories=list(CLASSES)), "coco-structure", "error", "categories",
    ),
    "no categories": (lambda c: c.pop("categories"), "coco-structure", "error", "categories"),
    "no annotations": (lambda c: c.pop("annotations"), "no-records", "error", "annotations"),
    "empty annotations": (lambda c: c["annotations"].clear(), "no-records", "error", "annotations"),
    "empty images": (lambda c: c["images"].clear(), "no-records", "error", "images"),
    # --- ids and references
    "image id text": (set_in("images", "id", "1"), "record-id", "error", 'id "1"'),
    "image id null": (set_in("images", "id", None), "record-id", "error", "None"),
    "image id list": (set_in("images", "id", [1]), "record-id", "error", "[1]"),
    "image id huge": (set_in("images", "id", 2**70), "record-id", "error", str(2**70)[:9]),
    "image id missing": (lambda c: c["images"][1].pop("id"), "record-id", "error", "images[1]"),
    "image id broken": (set_in("images", "id", 1.5), "record-id", "error", "1.5"),
    "image id twice": (set_in("images", "id", 2), "id-repeated", "error", "images 2"),
    "annotation id true": (set_in("annotations", "id", True), "record-id", "error", "True"),
    "annotation id missing": (lambda c: first(c).pop("id"), "record-id", "error", "missing"),
    "annotation id twice": (set_in("annotations", "id", 5), "id-repeated", "error", "annotations 5"),
    "category id text": (set_in("categories", "id", "1"), "record-id", "error", 'id "1"'),
    "category id twice": (set_in("categories", "id", 2), "id-repeated", "error", "categories 2"),
    "unknown image": (set_in("annotations", "image_id", 99), "reference", "error", "image_id 99"),
    "image as list": (set_in("annotations", "image_id", [1]), "reference", "error", "annotation 1"),
    "unknown category": (
        set_in("annotations", "category_id", 9, 3), "reference", "error", "annotation 4 (001.png)",
    ),
    "category null": (set_in("annotations", "category_id", None), "reference", "error", "None"),
    # --- images and categories
    "no file name": (lambda c: c["images"][0].pop("file_name"), "file-name", "error", "missing"),
    "file name a number": (set_in("images", "file_name", 3), "file-name", "error", "image 1"),
    "file name empty": (set_in("images", "file_name", ""), "file-name", "error", '""'),
    "same file twice": (
        lambda c: c["images"].append({**c["images"][0], "id": 9}),
        "file-repeated", "warning", "001.png",
    ),
    "width text": (set_in("images", "width", "120"), "image-size", "error", 'width "120"'),
    "height zero": (set_in("images", "height", 0), "image-size", "error", "height 0"),
    "width negative": (set_in("images", "width", -120), "image-size", "error", "-120"),
    "no height": (lambda c: c["images"][0].pop("height"), "image-size", "error", "missing"),
    "category without name": (lambda c: c["categories"][1].pop("name"), "category-name", "error", "category 2"),
    "category name a number": (set_in("categories", "name", 3), "category-name", "error", "name 3"),
    "category name twice": (set_in("categories", "name", "dog"), "category-name", "error", "dog"),
    "other class": (set_in("categories", "name", "cow"), "classes-differ", "error", "only in the file: cow"),
    "classes in another order": (
        lambda c: c["categories"].reverse(), "classes-differ", "error", "in the file's order",
    ),
    # --- boxes
    "box missing": (lambda c: first(c).pop("bbox"), "box-form", "error", "bbox missing"),
    "box null": (set_in("annotations", "bbox", None), "box-form", "error", "None"),
    "box of three": (lambda c: first(c)["bbox"].pop(), "box-form", "error", "annotation 1"),
    "box of text": (set_box(0, "20"), "box-form", "error", "'20'"),
    "box true": (set_box(0, True), "box-form", "error", "True"),
    "box nested": (lambda c: first(c).update(bbox=[first(c)["bbox"]]), "box-form", "error", "[["),
    "box NaN": (set_box(2, NAN), "box-not-finite", "error", "NaN"),
    "box infinite": (set_box(2, float("inf")), "box-not-finite", "error", "Infinity"),
    "box beyond all": (set_box(0, 1e30), "box-not-finite", "error", "1e+30"),
    "box negative": (set_box(2, -30), "box-negative", "error", "-30"),
    "box without width": (set_box(2, 0), "box-empty", "warning", "0"),
    "box outside": (set_box(0, 5000), "box-outside", "warning", "5000"),
    "box beyond the edge": (set_box(2, 150), "box-beyond", "warning", "150"),
    "boxes as parts": (
        lambda c: [a.update(bbox=[v / 200 for v in a["bbox"]]) for a in c["annotations"]],
        "boxes-normalised", "error", "bbox",
    ),
    "boxes as corners": (
        lambda c: [
            a.update(bbox=[60, 60, 60 + a["bbox"][2], 60 + a["bbox"][3]], segmentation=[])
            for a in c["annotations"]
        ],
        "boxes-corners", "error", "bbox",
    ),
    "box not around its mask": (set_box(0, 50), "box-mask", "warning", "30 pixels off"),
    # --- areas and flags
    "area text": (set_in("annotations", "area", "720"), "area-form", "error", "720"),
    "area NaN": (set_in("annotations", "area", NAN), "area-form", "error", "NaN"),
    "area negative": (set_in("annotations", "area", -720), "area-form", "error", "-720"),
    "area far too large": (set_in("annotations", "area", 72000), "area-wrong", "warning", "72000"),
    "area far too small": (set_in("annotations", "area", 1), "area-wrong", "warning", "area 1"),
    "area zero": (set_in("annotations", "area", 0), "area-zero", "warning", "annotation 1"),
    "crowd text": (set_in("annotations", "iscrowd", "0"), "flag-form", "error", 'iscrowd "0"'),
    "crowd two": (set_in("annotations", "iscrowd", 2), "flag-form", "error", "2"),
    "ignore text": (set_in("annotations", "ignore", "no"), "flag-form", "error", "ignore"),
    "all crowd": (each("iscrowd", 1), "all-crowd", "warning", "16 objects"),
    "all ignored": (each("ignore", 1), "nothing-left", "error", "16 marked ignore"),
    "two of 16 ignored": (
        lambda c: [a.update(ignore=1) for a in c["annotations"][:2]],
        "objects-lost", "warning", "14 of 16 objects (2 marked ignore)",
    ),
    # --- masks
    "mask missing": (lambda c: first(c).pop("segmentation"), "mask-missing", "error", "annotation 1"),
    "mask empty": (set_mask([]), "mask-missing", "error", "001.png"),
    "mask null": (set_mask(None), "mask-missing", "error", "annotation 1"),
    "mask text": (set_mask("polygon"), "mask-form", "error", "polygon"),
    "mask flat": (set_mask(rectangle(20, 15, 30, 24)), "mask-form", "error", "[20"),
    "mask nested": (set_mask([[rectangle(20, 15, 30, 24)]]), "mask-form", "error", "[[["),
    "mask with null": (set_mask([[20, 15, None, 15, 50, 39]]), "mask-form", "error", "null"),
    "mask with text": (set_mask([[20, 15, "50", 15, 50, 39]]), "mask-form", "error", "50"),
    "mask NaN": (set_mask([[20, 15, NAN, 15, 50, 39]]), "mask-not-finite", "error", "NaN"),
    "mask of two points": (set_mask([[20, 15, 50, 39]]), "mask-points", "error", "annotation 1"),
    "mask odd": (set_mask([rectangle(20, 15, 30, 24)[:-1]]), "mask-points", "error", "annotation 1"),
    "mask far outside": (set_mask([[20, 15, 2e8, 15, 50, 39]]), "mask-outside", "error", "2e+08"),
    "mask beyond the edge": (set_mask([rectangle(20, 15, 120, 24)]), "mask-beyond", "warning", "20 pixels"),
    "run lengths of another size": (
        set_mask({"size": [45, 60], "counts": [0, 2700]}), "mask-runs", "error", "size [45, 60]",
    ),
    "run lengths too short": (
        set_mask({"size": [90, 120], "counts": [100, 20]}), "mask-runs", "error", "counts",
    ),
    "run lengths negative": (
        set_mask({"size": [90, 120], "counts": [10900, -100]}), "mask-runs", "error", "-100",
    ),
    "run lengths garbled": (
        set_mask({"size": [90, 120], "counts": "zz~~"}), "mask-runs", "error", "zz~~",
    ),
    "run lengths without size": (set_mask({"counts": [10800]}), "mask-form", "error", "counts"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named(name: str, tmp_path: Path) -> None:
    change, code, severity, said = FAULTS[name]
    findings = found_in(tmp_path, change)
    found = {f.kind.code: f for f in findings.all()}
    assert code in found, [f.lines() for f in findings.all()]
    assert found[code].severity == severity
    assert said in "\n".join(found[code].lines() + found[code].where + found[code].examples)
    if severity == "warning":
        assert not findings.errors()


def test_a_recipe_for_boxes_only_says_which_masks_are_missing(tmp_path: Path) -> None:
    """A mask that is there and broken is an error for it, too: the file is."""
    boxes = Use(classes=CLASSES, masks=False)
    findings = found_in(tmp_path / "a", FAULTS["mask empty"][0], boxes)
    assert [(f.kind.code, f.severity) for f in findings.all()] == [("mask-missing", "warning")]
    for name in ("mask flat", "mask NaN", "mask of two points", "mask far outside"):
        findings = found_in(tmp_path / name, FAULTS[name][0], boxes)
        assert FAULTS[name][1] in [found.kind.code for found in findings.errors()]


def test_a_recipe_for_masks_needs_them_in_all_objects(tmp_path: Path) -> None:
    def without_masks(c: dict) -> None:
        for annotation in c["annotations"]:
            annotation["segmentation"] = []

    assert not found_in(tmp_path / "a", without_masks).all()
    findings = found_in(tmp_path / "b", without_masks, Use(classes=CLASSES, masks=True))
    assert [(f.kind.code, f.count) for f in findings.errors()] == [("mask-missing", 16)]


def test_what_is_left_out_by_choice_is_counted_and_no_loss(tmp_path: Path) -> None:
    """Of three classes one is used, and one image has none of its objects."""

    def without_cats(images: set[int]) -> Change:
        def change(c: dict) -> None:
            c["annotations"] = [
                a for a in c["annotations"] if a["category_id"] != 1 or a["image_id"] not in images
            ]

        return change

    use = Use(classes=("cat",), more_categories=True, keeps_empty=False)
    findings = found_in(tmp_path / "a", without_cats({1}), use)
    assert not findings.all()
    facts = findings.splits["train"]
    assert (facts["images_used"], facts["images_dropped"]) == (
        3,
        {"with other categories alone": 1},
    )
    findings = found_in(tmp_path / "b", without_cats({1, 2, 3, 4}), use)
    assert [found.kind.code for found in findings.errors()] == ["nothing-left"]
