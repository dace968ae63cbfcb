"""Analysis and pictures of a report's models."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import report_files
from pycocotools import mask as rle
from report_page import Page, models_of

from casvit_dense.report import build_report
from casvit_dense.report.gallery import choose
from casvit_dense.report.pictures import outline_of


def test_models_show_analysis_and_pictures(page: Page) -> None:
    models = list(models_of(page).values())
    galleries = [m["gallery"] for m in models if m["gallery"]]
    assert sorted(g["kind"] for g in galleries) == ["maps", "objects"]
    for gallery in galleries:
        assert len(gallery["images"]) == 4
        assert all(f"picture-{image['picture']}" in page.scripts for image in gallery["images"])
    titles = {w["title"] for m in models for w in m["analysis"]}
    assert {"Boxes: kinds of error", "Masks: confusion", "IoU of each class"} <= titles


def test_objects_of_the_gallery(page: Page, shapes: Path) -> None:
    gallery = next(
        m["gallery"] for m in models_of(page).values() if m["gallery"]["kind"] == "objects"
    )
    content = json.loads((shapes / "coco/annotations/instances_val2017.json").read_text())
    for image in gallery["images"]:
        record = next(i for i in content["images"] if i["file_name"] == image["name"])
        mine = [a for a in content["annotations"] if a["image_id"] == record["id"]]
        assert (image["width"], image["height"]) == (record["width"], record["height"])
        boxes = sorted(row[1:5] for row in image["truth"])
        assert np.allclose(boxes, sorted(a["bbox"] for a in mine), atol=0.06)
        assert [row[6] for row in image["truth"]].count(1) == sum(a["iscrowd"] for a in mine)
        scores = [row[1] for row in image["predictions"]]
        assert scores == sorted(scores, reverse=True) and min(scores, default=1) >= 0.05


def test_images_that_are_gone(shapes: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    ledger = report_files.make_ledger(tmp_path / "runs", data)
    shutil.rmtree(data / "coco/val2017")
    report = build_report([ledger], images=3)
    gallery = next(
        m["gallery"]
        for m in models_of(Page(report.html)).values()
        if m["gallery"] and m["gallery"]["kind"] == "objects"
    )
    assert [image["picture"] for image in gallery["images"]] == [None] * 3
    assert "not there any more" in gallery["images"][0]["missing"]
    # Without the truth, the row's own classes are all that is left.
    shutil.rmtree(data)
    report = build_report([ledger])
    assert all(m["gallery"] is None for m in models_of(Page(report.html)).values())
    assert any(str(data) in note for note in report.notes)


@pytest.mark.parametrize("count", [0, 1, 2, 12, 100])
def test_choice_of_images(count: int) -> None:
    from casvit_dense.analysis.records import ImageScore

    names = [f"{i:02}.png" for i in range(40)]
    ranked = [ImageScore(i, name, i / 40) for i, name in enumerate(names)]
    chosen = choose(ranked[::-1][:20], ranked[:20], names, count)
    assert len(chosen) == min(count, 40)
    share = count // 3
    reasons = [why for why, _ in chosen.values()]
    assert reasons[: min(share, 20)] == ["worst"] * min(share, 20)
    assert reasons.count("best") == min(share, 20)
    assert chosen == choose(ranked[::-1][:20], ranked[:20], names[::-1], count)


@pytest.mark.parametrize("kind", ["square", "ring", "pixel", "edge", "two", "empty"])
def test_outlines_enclose_the_mask(kind: str) -> None:
    """Filled by OpenCV, the outline gives the mask back."""
    mask = np.zeros((60, 80), np.uint8)
    if kind in ("square", "ring", "two"):
        mask[10:40, 20:60] = 1
    if kind == "ring":
        mask[20:30, 30:50] = 0
    if kind == "two":
        mask[50:58, 2:10] = 1
    if kind == "pixel":
        mask[5, 7] = 1
    if kind == "edge":
        mask[:, :30] = 1
    outline = outline_of(rle.encode(np.asfortranarray(mask)))
    polygons = [
        np.array([pair.split(" ") for pair in part.rstrip("z").split("L")], float)
        for part in outline.split("M")[1:]
    ]
    drawn = np.zeros((600, 800), np.uint8)
    cv2.fillPoly(drawn, [np.round(10 * polygon).astype(np.int32) for polygon in polygons], 1)
    found = drawn[5::10, 5::10]
    union = (found | mask).sum()
    assert (found & mask).sum() >= 0.97 * union
    assert (kind == "empty") == (outline == "")
