"""What is read of an annotation file: oddities as they were meant, objects as mmdet's loader keeps them."""

# ruff: noqa: E501  (one line a fault)

import codecs
import json
import os
from pathlib import Path
from typing import Any

import coco_files
import numpy as np
import pytest
from coco_files import CLASSES, Change, content, each, found_in, rectangle, set_box
from msgspec import Raw
from pycocotools import mask as rle

from casvit_dense.data import coco_file
from casvit_dense.data.checks import check
from casvit_dense.data.checks.balance import balance
from casvit_dense.data.checks.check import check_path
from casvit_dense.data.checks.coco import Use, check_coco
from casvit_dense.data.coco_file import load_coco, read_coco
from casvit_dense.data.coco_masks import decode_counts, mask_area
from casvit_dense.data.findings import Findings
from casvit_dense.errors import UserError


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

    from casvit_dense.config.coco_api import read_by_us

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


def test_a_start_reads_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = coco_files.write(tmp_path, lambda made: made["annotations"][0].pop("iscrowd"))
    read: list[Path] = []
    whole = coco_file._read

    def counted(path: Path, findings: Findings) -> coco_file.CocoFile | None:
        read.append(path)
        return whole(path, findings)

    monkeypatch.setattr(coco_file, "_read", counted)
    alone, findings = load_coco(file), Findings()
    with coco_file.read_once():
        read.clear()
        assert load_coco(file) == load_coco(file) == alone
        read_coco(file, findings)
        assert len(read) == 1
        assert any("1 annotations have no iscrowd" in note for note in findings.notes)
        file.write_text(file.read_text().replace('"bird"', '"birds"'))
        assert load_coco(file)["categories"][2]["name"] == "birds"
        assert len(read) == 2
        coco_file.forget_files()
        load_coco(file)
        assert len(read) == 3
    load_coco(file)
    assert len(read) == 4
