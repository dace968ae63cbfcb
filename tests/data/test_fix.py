"""Cleaned copies of faulty data: what is corrected, what is left out, what is never touched."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from casvit_dense.cli import main
from casvit_dense.data import copies
from casvit_dense.data.checks.check import check_path
from casvit_dense.data.findings import Findings
from casvit_dense.data.fixes.changes import Changes
from casvit_dense.data.fixes.fix import fix
from casvit_dense.data.layouts.describe import describe
from casvit_dense.errors import UserError

Content = dict[str, Any]
NAN = float("nan")


def box(number: int, image: int, x: int, y: int, w: int, h: int, category: int = 1) -> Content:
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [x, y, w, h],
        "area": w * h,
        "iscrowd": 0,
        "segmentation": [polygon],
    }


#: Three images of 60x40; objects of known boxes.
CLEAN: Content = {
    "images": [{"id": n, "file_name": f"{n}.png", "width": 60, "height": 40} for n in (1, 2, 3)],
    "annotations": [
        box(1, 1, 4, 6, 20, 10),
        box(2, 1, 30, 10, 25, 25, category=2),
        box(3, 2, 0, 0, 60, 40),
        box(4, 3, 10, 20, 30, 15),
    ],
    "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "pot"}],
}


def write(root: Path, content: Any = CLEAN) -> Path:
    (root / "annotations").mkdir(parents=True)
    (root / "train").mkdir()
    random = np.random.default_rng(0)
    for n in (1, 2, 3):
        pixels = random.integers(0, 255, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(root / "train" / f"{n}.png")
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "annotations/instances_train.json").write_text(text)
    return root


def state(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def run(source: Path, out: Path) -> Changes:
    """Fixes, and holds what is true of every copy."""
    before = state(source)
    changes = fix(describe(source), out, log=lambda line: None)
    assert state(source) == before
    findings = Findings()
    check_path(out, findings)
    assert findings.errors() == []
    listed = json.loads((out / "changes.json").read_bytes())
    assert len(listed["changes"]) == len(changes.made)
    return changes


def test_what_is_left_names_the_copy(tmp_path: Path) -> None:
    source = write(tmp_path / "source")
    annotations = source / "annotations/instances_train.json"
    shutil.copy(annotations, annotations.with_name("instances_val.json"))
    (found,) = run(source, tmp_path / "out").left.all()
    assert found.kind.code == "image-shared"
    assert str(tmp_path / "out/train/1.png") in found.where[0] + "".join(found.examples)
    assert ".out-" not in "".join([*found.where, *found.examples])


def fixed(tmp_path: Path, content: Any) -> tuple[Content, list[str]]:
    changes = run(write(tmp_path / "source", content), tmp_path / "out")
    result = json.loads((tmp_path / "out/annotations/instances_train.json").read_bytes())
    names = sorted(image["file_name"] for image in result["images"])
    assert sorted(path.name for path in (tmp_path / "out/train").iterdir()) == names
    return result, [change.what for change in changes.made]


def changed(edit: Callable[[Content], object]) -> Content:
    content = deepcopy(CLEAN)
    edit(content)
    return content


def set_all(content: Content, kind: str, **values: Any) -> None:
    for record in content[kind]:
        for key, value in values.items():
            record[key] = value(record) if callable(value) else value


def test_clean_data_stay_as_they_are(tmp_path: Path) -> None:
    result, changes = fixed(tmp_path, CLEAN)
    assert result == CLEAN
    assert changes == []


def first(**values: Any) -> Callable[[Content], object]:
    return lambda content: content["annotations"][0].update(values)


#: Fault: what is done, what the change is called, what the first object is afterwards.
CORRECTED: dict[str, tuple[Callable[[Content], object], str, Content]] = {
    "beyond the edge": (
        first(bbox=[40, 20, 40, 40], segmentation=[[40, 20, 80, 20, 80, 60, 40, 60]], area=1600),
        "box corrected or cut",
        {"bbox": [40, 20, 20, 20], "segmentation": [[40, 20, 60, 20, 60, 40, 40, 40]], "area": 400},
    ),
    "text": (first(bbox=["4", "6", "20", "10"]), "box corrected", {"bbox": [4, 6, 20, 10]}),
    "NaN": (first(bbox=[4, NAN, 20, 10]), "box corrected", {"bbox": [4, 6, 20, 10]}),
    "three numbers": (first(bbox=[4, 6, 20]), "box corrected", {"bbox": [4, 6, 20, 10]}),
    "negative": (first(bbox=[24, 16, -20, -10]), "box corrected", {"bbox": [4, 6, 20, 10]}),
    "area as text": (first(area="200"), "area computed", {"area": 200}),
    "area too large": (first(area=1e6), "area computed", {"area": 200}),
    "area 0": (first(area=0), "area computed", {"area": 200}),
    "crowd as text": (first(iscrowd="0"), "iscrowd written as a number", {"iscrowd": 0}),
    "crowd of nothing": (first(iscrowd=None), "read as it was meant", {"iscrowd": 0}),
    "flat polygon": (
        first(segmentation=[4, 6, 24, 6, 24, 16]),
        "mask repaired",
        {"segmentation": [[4, 6, 24, 6, 24, 16]]},
    ),
    "one polygon of two points": (
        first(segmentation=[[4, 6, 24, 6, 24, 16], [1, 1, 2, 2]]),
        "mask repaired",
        {"segmentation": [[4, 6, 24, 6, 24, 16]]},
    ),
    "one polygon far outside": (
        first(segmentation=[[4, 6, 24, 6, 24, 16], [2e8, 1, 2e8, 9, 5, 5]]),
        "mask repaired",
        {"segmentation": [[4, 6, 24, 6, 24, 16]]},
    ),
}


@pytest.mark.parametrize("name", CORRECTED)
def test_objects_are_corrected(tmp_path: Path, name: str) -> None:
    edit, what, expected = CORRECTED[name]
    result, changes = fixed(tmp_path, changed(edit))
    assert len(result["annotations"]) == 4
    found = result["annotations"][0]
    assert {key: found[key] for key in expected} == expected
    assert result["annotations"][1:] == CLEAN["annotations"][1:]
    assert any(change.startswith(what) for change in changes)


@pytest.mark.parametrize(
    "values, why",
    [
        ({"bbox": [500, 6, 20, 10]}, "outside the image"),
        ({"bbox": [4, 6, 0, 10]}, "smaller than a pixel"),
        ({"bbox": None, "segmentation": [[NAN, 6, 24, 6, 24, 16]]}, "no usable box"),
        ({"segmentation": [[4, 6, 24, 16]]}, "no usable mask, as most have"),
        ({"segmentation": {"size": [9, 9], "counts": [0, 81]}}, "no usable mask, as most have"),
        ({"segmentation": "a polygon"}, "no usable mask, as most have"),
        ({"segmentation": []}, "no usable mask, as most have"),
        ({"iscrowd": "maybe"}, "neither yes nor no"),
        ({"image_id": 99}, "its image is not there"),
        ({"category_id": [1]}, "its category is not there"),
    ],
)
def test_objects_that_cannot_be_corrected_are_left_out(
    tmp_path: Path, values: Content, why: str
) -> None:
    result, changes = fixed(tmp_path, changed(first(**values)))
    assert result["annotations"] == CLEAN["annotations"][1:]
    assert any("left out" in change and why in change for change in changes)


def test_masks_of_few_are_left_out(tmp_path: Path) -> None:
    def edit(content: Content) -> None:
        for annotation in content["annotations"][1:]:
            del annotation["segmentation"]

    result, _ = fixed(tmp_path, changed(edit))
    assert len(result["annotations"]) == 4
    assert not any("segmentation" in annotation for annotation in result["annotations"])


def test_boxes_as_parts_of_the_image(tmp_path: Path) -> None:
    def edit(content: Content) -> None:
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            annotation["bbox"] = [x / 60, y / 40, w / 60, h / 40]

    result, _ = fixed(tmp_path, changed(edit))
    for found, expected in zip(result["annotations"], CLEAN["annotations"], strict=True):
        assert found["bbox"] == pytest.approx(expected["bbox"])
        assert found["area"] == expected["area"]


def test_boxes_as_corners(tmp_path: Path) -> None:
    content = deepcopy(CLEAN)
    content["annotations"] = [box(n, 1 + n % 3, 20 + n, 15 + n, 25, 18) for n in range(1, 8)]
    expected = [a["bbox"] for a in content["annotations"]]
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x, y, x + w, y + h]
    result, _ = fixed(tmp_path, content)
    assert [a["bbox"] for a in result["annotations"]] == expected


def test_ids_as_text_are_numbered(tmp_path: Path) -> None:
    def edit(content: Content) -> None:
        set_all(content, "images", id=lambda r: f"{r['id']:05}")
        set_all(content, "categories", id=lambda r: str(r["id"]))
        set_all(
            content,
            "annotations",
            id=lambda r: f"a{r['id']}",
            image_id=lambda r: f"{r['image_id']:05}",
            category_id=lambda r: str(r["category_id"]),
        )

    result, _ = fixed(tmp_path, changed(edit))
    assert result == CLEAN


def test_repeated_ids(tmp_path: Path) -> None:
    result, changes = fixed(tmp_path, changed(lambda c: c["annotations"][1].update(id=1)))
    assert [a["id"] for a in result["annotations"]] == [1, 2, 3, 4]
    assert "annotations numbered anew" in changes


def test_an_image_id_of_two_files_belongs_to_neither(tmp_path: Path) -> None:
    result, changes = fixed(tmp_path, changed(lambda c: c["images"][1].update(id=1)))
    assert [image["file_name"] for image in result["images"]] == ["3.png"]
    assert [a["bbox"] for a in result["annotations"]] == [[10, 20, 30, 15]]
    assert "image left out: its id is also that of another" in changes


def test_records_of_one_file_are_made_one(tmp_path: Path) -> None:
    def edit(content: Content) -> None:
        content["images"].append({**content["images"][0], "id": 9})
        content["annotations"][1]["image_id"] = 9

    result, _ = fixed(tmp_path, changed(edit))
    assert result == CLEAN


def test_categories_without_a_name_or_of_one_name(tmp_path: Path) -> None:
    def edit(content: Content) -> None:
        content["categories"] += [{"id": 7, "name": "cup"}, {"id": 8, "name": ""}]
        content["annotations"][0]["category_id"] = 7
        content["annotations"][3]["category_id"] = 8

    source = write(tmp_path / "source", changed(edit))
    described = describe(write(tmp_path / "clean"))
    part = described.splits["train"].model_copy(
        update={"annotations": source / "annotations/instances_train.json"}
    )
    fix(described.model_copy(update={"splits": {"train": part}}), tmp_path / "out", print)
    result = json.loads((tmp_path / "out/annotations/instances_train.json").read_bytes())
    assert result["categories"] == CLEAN["categories"]
    assert [a["category_id"] for a in result["annotations"]] == [1, 2, 1]


def test_file_names(tmp_path: Path) -> None:
    def edit(content: Content) -> None:
        content["images"][0]["file_name"] = "images\\1.png"
        content["images"][2]["file_name"] = "nothing.png"
        content["annotations"][0]["bbox"] = [24, 16, -20, -10]

    result, _ = fixed(tmp_path, changed(edit))
    assert result["annotations"][0]["bbox"] == [4, 6, 20, 10]
    assert [image["file_name"] for image in result["images"]] == ["1.png", "2.png"]
    assert len(result["annotations"]) == 3


def test_sizes_that_are_swapped_or_missing(tmp_path: Path) -> None:
    def edit(content: Content) -> None:
        set_all(content, "images", width=40, height=60)
        content["images"][0]["width"] = None

    result, changes = fixed(tmp_path, changed(edit))
    assert result == CLEAN
    assert changes.count("size taken from the file") == 3


def test_a_file_of_another_size_is_left_out(tmp_path: Path) -> None:
    source = write(tmp_path / "source")
    Image.new("RGB", (30, 20)).save(source / "train/2.png")
    (source / "train/3.png").write_bytes((source / "train/3.png").read_bytes()[:99])
    run(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/train").iterdir()] == ["1.png"]


def write_maps(root: Path) -> Path:
    for n in range(4):
        for kind in ("images", "masks"):
            (root / kind / "train").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (n, 9, 9)).save(root / "images/train" / f"{n}.jpg")
        labels = np.zeros((20, 30), np.uint8)
        labels[5:10, 5:20] = 1
        Image.fromarray(labels).save(root / "masks/train" / f"{n}.png")
    (root / "classes.txt").write_text("ground\nroad\n")
    return root


def test_faulty_maps_are_left_out_with_their_images(tmp_path: Path) -> None:
    source = write_maps(tmp_path / "source")
    Image.new("L", (30, 20), 7).save(source / "masks/train/1.png")  # of no class
    Image.new("L", (9, 9), 1).save(source / "masks/train/2.png")  # of another size
    (source / "masks/train/3.png").unlink()
    changes = run(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/images/train").iterdir()] == ["0.jpg"]
    assert [path.name for path in (tmp_path / "out/annotations/train").iterdir()] == ["0.png"]
    assert [change.where for change in changes.made] == ["1", "2", "3"]
    assert describe(tmp_path / "out").classes == ["ground", "road"]


def test_maps_that_are_all_faulty_are_refused(tmp_path: Path) -> None:
    source = write_maps(tmp_path / "source")
    for path in (source / "masks/train").iterdir():
        Image.new("L", (30, 20), 7).save(path)
    with pytest.raises(UserError, match="no pair of image and map is without a fault"):
        fix(describe(source), tmp_path / "out", print)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_known_is_said(tmp_path: Path, capsys: Any) -> None:
    """Masks of 0 and 255: which of both is a class?"""
    source = write_maps(tmp_path / "source")
    for path in (source / "masks/train").iterdir():
        labels = np.asarray(Image.open(path))
        Image.fromarray((labels * 255).astype(np.uint8)).save(path)
    out = tmp_path / "out"
    assert main(["data", "check", str(source), "--fix", str(out)]) == 1
    assert "left as it is: error map-one-class" in capsys.readouterr().out


def test_yolo_becomes_a_coco_file_without_its_faults(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for kind in ("images", "labels"):
        (root / kind / "train").mkdir(parents=True)
    for n, line in enumerate(("0 0.5 0.5 0.25 0.5\n0 nan 0.5 0.2 0.2\n", "1 0.5 0.5 0.5 0.5\n")):
        Image.new("RGB", (80, 40), (n, 0, 0)).save(root / "images/train" / f"{n}.png")
        (root / "labels/train" / f"{n}.txt").write_text(line)
    (root / "data.yaml").write_text("train: images/train\nnames: [cup, pot]\n")
    changes = run(root, tmp_path / "out")
    result = json.loads((tmp_path / "out/annotations/instances_train.json").read_bytes())
    assert [a["bbox"] for a in result["annotations"]] == [[30, 10, 20, 20], [20, 10, 40, 20]]
    assert len(changes.made) == 1


def test_the_command(tmp_path: Path, capsys: Any) -> None:
    source = write(tmp_path / "source", changed(first(bbox=[500, 6, 20, 10], area="x")))
    out = tmp_path / "out"
    assert main(["data", "check", str(source), "--fix", str(out)]) == 0
    said = capsys.readouterr().out
    assert "area-form" in said and "object left out: outside the image" in said
    assert f"written: {out} (1 change, see changes.json in it)" in said
    assert main(["data", "check", str(source), "--fix", str(out)]) == 2
    assert "holds files" in capsys.readouterr().err
    assert main(["data", "check", str(source), "--fix", str(source / "train/out")]) == 2
    assert "lies in the source" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content, message",
    [
        ({**CLEAN, "annotations": {"1": {}}}, "not built as a COCO file"),
        (
            changed(lambda c: set_all(c, "annotations", bbox=[900, 9, 9, 9])),
            "no image with a usable",
        ),
    ],
)
def test_files_of_which_nothing_is_left(tmp_path: Path, content: Content, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(write(tmp_path / "source", content), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["source"]


def test_a_full_disk_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "source")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(copies, "link_or_copy", full)
    with pytest.raises(OSError, match="No space left"):
        fix(describe(source), tmp_path / "out", print)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["source"]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 2**64),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.one_of(st.floats(-1e9, 1e9), st.lists(st.floats(-99, 99), max_size=8)), max_size=6),
    st.just({"size": [40, 60], "counts": [5, 2395]}),
    st.just({}),
)
KEYS = [
    (kind, row, key)
    for kind, records in CLEAN.items()
    for row, record in enumerate(records)
    for key in record
    if kind != "categories"
]


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=6))
def test_any_value_anywhere(tmp_path: Path, changes: dict[tuple[str, int, str], Any]) -> None:
    """A copy has no error, whatever stood in the source."""
    content = deepcopy(CLEAN)
    for (kind, row, key), value in changes.items():
        content[kind][row][key] = value
    for name in ("source", "out"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
    try:
        run(write(tmp_path / "source", content), tmp_path / "out")
    except UserError as error:
        assert "no image with a usable object" in str(error) or "no folder with" in str(error)
