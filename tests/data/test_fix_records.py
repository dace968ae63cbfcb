"""Records of a COCO file in a cleaned copy: what is corrected, what is left out."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from faulty_sets import CLEAN, NAN, Content, box, changed, first, fixed, run, set_all, write
from PIL import Image

from casvit_dense.data.fixes.fix import fix
from casvit_dense.data.layouts.describe import describe


def test_clean_data_stay_as_they_are(tmp_path: Path) -> None:
    result, changes = fixed(tmp_path, CLEAN)
    assert result == CLEAN
    assert changes == []


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
