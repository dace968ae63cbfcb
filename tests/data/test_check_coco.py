"""Every fault of an annotation file is found, named and of the right weight; sound files are not.

What a file's loader delivers is asked of mmdet's own ``CocoDataset``.
"""

# ruff: noqa: E501  (one line a fault)

import codecs
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coco_files
import numpy as np
import pytest
from coco_files import CLASSES, content, rectangle
from msgspec import Raw
from pycocotools import mask as rle

from casvit_dense.data.checks import check
from casvit_dense.data.checks.balance import balance
from casvit_dense.data.checks.check import check_path
from casvit_dense.data.checks.coco import Use, check_coco
from casvit_dense.data.coco_file import load_coco
from casvit_dense.data.coco_masks import decode_counts, mask_area
from casvit_dense.data.findings import Findings
from casvit_dense.errors import UserError

Change = Callable[[dict[str, Any]], object]


def found_in(root: Path, change: Change, use: Use | None = None) -> Findings:
    findings = Findings()
    check_coco(coco_files.write(root, change), "train", use or Use(classes=CLASSES), findings)
    return findings


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


def first(c: dict) -> dict:
    return c["annotations"][0]


def each(key: str, value: Any) -> Change:
    def change(c: dict) -> None:
        for record in c["annotations"]:
            record[key] = value

    return change


def set_in(kind: str, key: str, value: Any, number: int = 0) -> Change:
    return lambda c: c[kind][number].update({key: value})


def set_box(place: int, value: Any) -> Change:
    return lambda c: first(c)["bbox"].__setitem__(place, value)


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


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\x89PNG\r\n",
        b'{"images": [',
        b"\xff\xfe",
        '{"images": [{"file_name": "\xe9"}], "categories": []}'.encode("latin-1"),
        b'{"a": ' + b"[" * 9999,
    ],
)
def test_files_that_are_no_json_are_one_finding(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(text)
    findings = Findings()
    assert check_coco(file, "train", Use(), findings) is None
    assert [f.kind.code for f in findings.all()] == ["json-unreadable"]
    with pytest.raises(UserError, match="1 fault in the data"):
        load_coco(file)


@pytest.mark.parametrize("text", [b"[]", b"5", b"null", b'"images"', b"[[1, 2], [3]]"])
def test_json_that_is_no_object_is_named(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(text)
    findings = Findings()
    check_coco(file, "train", Use(), findings)
    assert [f.kind.code for f in findings.all()] == ["coco-structure"]


#: name -> (change, what the note says)
ODDITIES: dict[str, tuple[Change, str]] = {
    "crowd null": (each("iscrowd", None), "16 annotations have no iscrowd"),
    "no area": (lambda c: [a.pop("area") for a in c["annotations"]], "16 annotations have no area"),
    "ids as floats": (
        lambda c: [a.update(image_id=float(a["image_id"])) for a in c["annotations"]],
        "16 have the image_id written as a float",
    ),
    "no ids": (lambda c: [a.pop("id") for a in c["annotations"]], "have no id"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODDITIES)
def test_harmless_oddities_are_read_as_meant(name: str, tmp_path: Path) -> None:
    change, note = ODDITIES[name]
    findings = found_in(tmp_path, change)
    assert not findings.all()
    assert any(note in line for line in findings.notes)
    loaded = load_coco(tmp_path / "annotations/train.json")["annotations"]
    assert loaded == content()["annotations"]


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_byte_order_marks_are_left_out(mark: bytes, encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(mark + json.dumps(content()).encode(encoding))
    findings = Findings()
    check_coco(file, "train", Use(), findings)
    assert not findings.all()
    assert "byte order mark" in findings.notes[0]
    assert load_coco(file)["annotations"] == content()["annotations"]


def test_kept_objects_are_those_of_mmdets_loader(tmp_path: Path) -> None:
    """One object for each reason, counted by the loader itself."""
    from mmdet.datasets import CocoDataset

    from casvit_dense.engine.coco_api import read_by_us

    def change(c: dict) -> None:
        objects = c["annotations"]
        objects[0]["bbox"] = [500, 10, 20, 20]
        objects[1]["bbox"][2] = 0
        objects[2]["bbox"][3] = 0.5
        objects[3]["ignore"] = 1
        objects[5]["iscrowd"] = 1
        objects[6].update(area=0, bbox=[10, 10, 0.5, 0.5], segmentation=[])
        c["images"].append({"id": 50, "file_name": "050.png", "width": 90, "height": 80})
        c["images"].append({"id": 51, "file_name": "051.png", "width": 31, "height": 80})
        objects.append({**objects[7], "id": 99, "image_id": 51, "bbox": [2, 2, 20, 20]})
        c["categories"].append({"id": 4, "name": "cow"})
        objects.append({**objects[8], "id": 100, "category_id": 4})

    use = Use(CLASSES, more_categories=True, min_size=32, keeps_empty=False)
    facts = found_in(tmp_path, change, use).splits["train"]
    read_by_us()
    loaded = CocoDataset(
        ann_file=str(tmp_path / "annotations/train.json"),
        data_prefix={"img": "train"},
        metainfo={"classes": CLASSES},
        filter_cfg={"filter_empty_gt": True, "min_size": 32},
        pipeline=[],
    )
    infos = [loaded.get_data_info(i) for i in range(len(loaded))]
    objects = [instance for info in infos for instance in info["instances"]]
    assert facts["images_used"] == len(loaded) == 4
    assert facts["objects_used"] == len(objects) == 11
    assert facts["crowds"] == sum(instance["ignore_flag"] for instance in objects) == 1
    assert facts["dropped"] == {
        "outside the image": 1,
        "smaller than a pixel": 2,
        "marked ignore": 1,
        "area 0": 1,
        "in images left out": 1,
        "of other categories": 1,
    }
    assert balance(facts).startswith(
        "4 of 6 images (1 without objects, 1 smaller than 32 pixels), 11 of 18 objects ("
    )


def test_areas_are_those_of_pycocotools() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        bits = np.asfortranarray(generator.random((13, 17)) > 0.4, np.uint8)
        packed = rle.encode(bits)
        text = packed["counts"].decode()
        runs = Raw(json.dumps({"size": [13, 17], "counts": text}).encode())
        assert mask_area(runs) == rle.area(packed) == bits.sum()
        assert rle.frPyObjects({"size": [13, 17], "counts": decode_counts(text)}, 13, 17) == packed
    assert mask_area(Raw(json.dumps([rectangle(1, 2, 10, 5), [0, 0, 4, 0, 0, 3]]).encode())) == 56


def test_a_file_is_checked_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results are kept by size and time; what is kept says the same as the check."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = coco_files.write(tmp_path, set_box(2, -30))
    os.utime(file, (1e9, 1e9))

    def told() -> dict[str, Any]:
        findings = Findings()
        check_path(tmp_path, findings)
        return findings.to_dict()

    first = told()
    assert first["findings"][0]["code"] == "box-negative"
    with monkeypatch.context() as patch:
        patch.setattr(check, "check_coco", None)  # not called again
        assert told() == first
    file.write_text(json.dumps(content()))
    assert told()["findings"] == []


@pytest.mark.parametrize("empty", ["[ ]", "[\n]", "{ }", "null"])
def test_masks_that_are_empty_in_any_spelling(tmp_path: Path, empty: str) -> None:
    """An exporter that puts a space into them once got the mask of the next object, or a crash."""
    file = tmp_path / "train.json"
    text = json.dumps(
        {**content(), "annotations": [{**content()["annotations"][0], "segmentation": 0}]}
    )
    file.write_text(text.replace('"segmentation": 0', f'"segmentation": {empty}'))
    assert "segmentation" not in load_coco(file)["annotations"][0]
    findings = Findings()
    check_coco(file, "train", Use(masks=False), findings)
    assert not findings.errors()
    assert findings.splits["train"]["masks"] == 0
