"""Figures that cannot be right are said to be so."""

import pytest

from casvit_dense.engine.sense import remarks

NAN = float("nan")


@pytest.mark.parametrize(
    ("metrics", "per_class", "said"),
    [
        ({"mIoU": 41.5}, {"IoU": {"a": 40.0, "b": 43.0}}, []),
        ({"coco/bbox_mAP": 0.4, "coco/bbox_mAP_50": 0.0}, {"bbox": {"a": 0.5, "b": 0.3}}, []),
        ({"mIoU": 0.0}, {"IoU": {"a": 0.0, "b": 0.0}}, ["mIoU is exactly 0"]),
        ({"coco/segm_mAP": 0.0}, {}, ["segm_mAP is exactly 0"]),
        ({"mIoU": 100.0}, {"IoU": {"a": 100.0, "b": 100.0}}, ["exactly 100 %"]),
        ({"coco/bbox_mAP": 1.0}, {"bbox": {"a": 1.0, "b": 1.0}}, ["exactly 100 %"]),
        ({"coco/bbox_mAP": -1.0}, {"bbox": {"a": NAN}}, ["bbox_mAP does not exist"]),
        ({"mIoU": NAN}, {"IoU": {"a": NAN, "b": NAN}}, ["mIoU does not exist"]),
        (
            {"mIoU": 50.0},
            {"IoU": {"a": 50.0, "b": 50.0, "c": NAN}},
            ["the mean of 2 of 3 classes; without truth: c"],
        ),
        (
            {"mIoU": 50.0},
            {"IoU": {"a": 50.0, "b": NAN}},
            ["the mean of 1 of 2 classes; without truth: b", "figure of a single class"],
        ),
        ({"coco/bbox_mAP": 0.5}, {"bbox": {"a": 0.5}}, ["the figure of a single class"]),
    ],
)
def test_remarks(metrics: dict, per_class: dict, said: list[str]) -> None:
    lines = remarks(metrics, per_class)
    assert len(lines) == len(said)
    for line, part in zip(lines, said, strict=True):
        assert part in line
