"""COCO files that cannot be read as truth or as detections."""

from pathlib import Path

import pytest
from analysis_data import SIDE, invent_truth, write

from casvit_dense.analysis.coco_arrays import read_detections, read_truth
from casvit_dense.errors import UserError

TRUTH = invent_truth(2)
GOOD = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
MASK = {"size": [5, 5], "counts": "0"}
FULL = {"size": [SIDE, SIDE], "counts": "0"}


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("bbox", {"a": 1}, "list of detections"),
        ("bbox", [1], "list of detections"),
        ("bbox", [GOOD, {"image_id": 1}], "detection 1 (from 0) lacks 'category_id'"),
        ("bbox", [{**GOOD, "image_id": 77}], "image_id 77"),
        ("bbox", [{**GOOD, "image_id": "1"}], "image_id '1'"),
        ("bbox", [{**GOOD, "category_id": 2}], "category_id 2"),
        ("bbox", [{**GOOD, "score": "high"}], "'score' is not a number"),
        ("bbox", [{**GOOD, "score": float("nan")}], "'score' is nan"),
        ("bbox", [{**GOOD, "score": 10**400}], "'score' is not a number"),
        ("bbox", [{**GOOD, "bbox": [1, 2, 3]}], "four numbers"),
        ("bbox", [GOOD, {**GOOD, "bbox": [1, 2, float("nan"), 4]}], "'bbox' is [1, 2, nan, 4]"),
        ("bbox", [{**GOOD, "bbox": [float("inf"), 2, 3, 4]}], "'bbox' is [inf, 2, 3, 4]"),
        ("segm", [GOOD], "lacks 'segmentation'"),
        ("segm", [{**GOOD, "segmentation": [[1, 2]]}], "compressed run lengths"),
        ("segm", [{**GOOD, "segmentation": MASK}], "[5, 5] pixels"),
        ("segm", [{**GOOD, "segmentation": {"counts": "0"}}], "None pixels"),
        ("segm", [{**GOOD, "segmentation": {**FULL, "counts": "\ud800"}}], "cannot be read"),
        ("segm", [{**GOOD, "segmentation": {**FULL, "counts": "é"}}], "longer than its image"),
    ],
)
def test_results_that_cannot_be_read(
    tmp_path: Path, kind: str, content: object, message: str
) -> None:
    truth = read_truth(write(tmp_path / "truth.json", TRUTH), kind)
    with pytest.raises(UserError) as error:
        read_detections(write(tmp_path / "found.json", content), kind, truth)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("bbox", {"annotations": None}, "needed: annotations"),
        ("bbox", {"annotations": [{**TRUTH["annotations"][0], "area": [1]}]}, "area [1]"),
        ("bbox", {"annotations": [{**TRUTH["annotations"][0], "bbox": [1]}]}, "four numbers"),
        ("segm", {"annotations": [{**TRUTH["annotations"][0], "segmentation": 3}]}, "annotation 1"),
        ("segm", {"annotations": [{**TRUTH["annotations"][0], "segmentation": MASK}]}, "[5, 5]"),
        (
            "bbox",
            {"images": [{**i, "file_name": "\ud800.jpg"} for i in TRUTH["images"]]},
            "json-unreadable",
        ),
        (
            "bbox",
            {"images": [{**i, "file_name": 3} for i in TRUTH["images"]]},
            "file_name 3",
        ),
        ("bbox", {"images": [{**i, "height": "tall"} for i in TRUTH["images"]]}, 'height "tall"'),
    ],
)
def test_truth_that_cannot_be_read(tmp_path: Path, kind: str, change: dict, message: str) -> None:
    content = {k: v for k, v in {**TRUTH, **change}.items() if v is not None}
    with pytest.raises(UserError) as error:
        read_truth(write(tmp_path / "truth.json", content), kind)
    assert message in str(error.value)


def test_images_that_the_truth_does_not_have(tmp_path: Path) -> None:
    path = write(tmp_path / "truth.json", TRUTH)
    with pytest.raises(UserError, match="holds 2 images, fewer"):
        read_truth(path, "bbox", indices=[0, 2])


def test_results_in_place_of_the_truth(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not built as a COCO file"):
        read_truth(write(tmp_path / "truth.json", [GOOD]), "bbox")
