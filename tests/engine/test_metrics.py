"""Our metrics against mmdet's, pycocotools' and hand arithmetic."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from casvit_dense.coco_backends import COCO_NUMBERS
from casvit_dense.engine.coco_metric import DenseCocoMetric
from casvit_dense.engine.iou_metric import DenseIoUMetric, map_name

CLASSES = ("circle", "square", "triangle")


@pytest.fixture
def truth(shapes: Path) -> Path:
    return shapes / "coco/annotations/instances_train2017.json"


def detections(truth: Path, shift: int = 0, keep: float = 1.0) -> list[dict]:
    """The truth as detections: boxes moved to the right, a part of them left out."""
    rng = np.random.default_rng(0)
    coco = COCO(truth)
    samples = []
    for image in coco.dataset["images"]:
        found = [a for a in coco.imgToAnns[image["id"]] if not a["iscrowd"] and rng.random() < keep]
        boxes = [[x + shift, y, x + shift + w, y + h] for x, y, w, h in (a["bbox"] for a in found)]
        masks = [np.roll(coco.annToMask(a), shift, axis=1) for a in found]
        size = image["height"], image["width"]
        prediction = {
            "bboxes": torch.tensor(boxes, dtype=torch.float).reshape(-1, 4),
            "scores": torch.tensor(rng.random(len(found)), dtype=torch.float),
            "labels": torch.tensor([a["category_id"] - 1 for a in found], dtype=torch.long),
            "masks": torch.tensor(np.array(masks).reshape(-1, *size), dtype=torch.bool),
        }
        samples.append({"img_id": image["id"], "ori_shape": size, "pred_instances": prediction})
    return samples


def evaluate(metric: CocoMetric | DenseIoUMetric, samples: list[dict], classes: tuple) -> dict:
    metric.dataset_meta = {"classes": classes}
    metric.process({}, samples)
    return metric.evaluate(size=len(samples))


@pytest.mark.parametrize(("shift", "keep"), [(0, 1.0), (2, 0.7), (5, 0.5)])
def test_twelve_numbers_equal_mmdets_at_cocos_settings(
    truth: Path, shift: int, keep: float
) -> None:
    samples = detections(truth, shift, keep)
    ours = evaluate(DenseCocoMetric(str(truth), ["bbox", "segm"]), samples, CLASSES)
    names = ("AR@100", "AR@300", "AR@1000", "AR_s@1000", "AR_m@1000", "AR_l@1000")
    reference = CocoMetric(
        str(truth),
        ["bbox", "segm"],
        proposal_nums=(1, 10, 100),
        metric_items=[*COCO_NUMBERS[:6], *names],
    )
    theirs = evaluate(reference, samples, CLASSES)
    assert len(ours) == 24
    for kind in ("bbox", "segm"):
        for our_name, their_name in zip(COCO_NUMBERS, (*COCO_NUMBERS[:6], *names), strict=True):
            value = ours[f"coco/{kind}_{our_name}"]
            # mmdet rounds to three digits
            assert value == pytest.approx(theirs[f"coco/{kind}_{their_name}"], abs=5e-4), our_name


def test_the_truth_itself_is_perfect_for_every_class(truth: Path) -> None:
    metric = DenseCocoMetric(str(truth), ["bbox", "segm"], classwise=True)
    values = evaluate(metric, detections(truth), CLASSES)
    assert values["coco/bbox_mAP"] == values["coco/segm_mAP"] == pytest.approx(1.0)
    for kind in ("bbox", "segm"):
        assert metric.per_class[kind] == pytest.approx(dict.fromkeys(CLASSES, 1.0))


def test_class_ap_by_hand(truth: Path) -> None:
    """Without any square, squares have AP 0, the others 1, and the mean is two thirds."""
    samples = detections(truth)
    for sample in samples:
        instances = sample["pred_instances"]
        kept = instances["labels"] != CLASSES.index("square")
        sample["pred_instances"] = {k: v[kept] for k, v in instances.items()}
    metric = DenseCocoMetric(str(truth), "bbox")
    values = evaluate(metric, samples, CLASSES)
    assert metric.per_class["bbox"] == pytest.approx({"circle": 1, "square": 0, "triangle": 1})
    assert values["coco/bbox_mAP"] == pytest.approx(2 / 3)


def test_labels_are_those_that_the_data_set_gives(truth: Path) -> None:
    """With a chosen subset of classes, labels as mmdet's own data set numbers them."""
    from mmdet.datasets import CocoDataset

    classes = ("circle", "triangle")
    dataset = CocoDataset(
        ann_file=str(truth), data_prefix={"img": ""}, metainfo={"classes": classes}, test_mode=True
    )
    samples = []
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        found = [a for a in info["instances"] if not a["ignore_flag"]]
        prediction = {
            "bboxes": torch.tensor([a["bbox"] for a in found]).reshape(-1, 4),
            "scores": torch.ones(len(found)),
            "labels": torch.tensor([a["bbox_label"] for a in found], dtype=torch.long),
        }
        size = info["height"], info["width"]
        samples.append({"img_id": info["img_id"], "ori_shape": size, "pred_instances": prediction})
    values = evaluate(DenseCocoMetric(str(truth)), samples, classes)
    assert values["coco/bbox_mAP"] == pytest.approx(1.0)


def test_no_detection_at_all_is_a_result(truth: Path) -> None:
    samples = detections(truth, keep=0.0)
    values = evaluate(DenseCocoMetric(str(truth), ["bbox", "segm"]), samples, CLASSES)
    assert values["coco/bbox_mAP"] == values["coco/segm_AR@100"] == 0.0


def test_predictions_are_kept_in_cocos_format(truth: Path, tmp_path: Path) -> None:
    metric = DenseCocoMetric(str(truth), ["bbox", "segm"], outfile_prefix=str(tmp_path / "p"))
    samples = detections(truth)
    evaluate(metric, samples, CLASSES)
    content = json.loads((tmp_path / "p.segm.json").read_text())
    coco = COCO(truth)
    loaded = coco.loadRes(str(tmp_path / "p.bbox.json"))
    assert (
        len(loaded.anns) == len(content) == sum(len(s["pred_instances"]["labels"]) for s in samples)
    )
    first = next(s for s in samples if len(s["pred_instances"]["labels"]))
    assert rle.area(content[0]["segmentation"]) == first["pred_instances"]["masks"][0].sum()


def test_an_image_counted_twice_is_an_error(truth: Path) -> None:
    samples = detections(truth)
    with pytest.raises(RuntimeError, match="1 images were evaluated more than once"):
        evaluate(DenseCocoMetric(str(truth)), [*samples, samples[0]], CLASSES)


def map_samples(pairs: list[tuple[list, list]]) -> list[dict]:
    return [
        {
            "img_path": f"{i}.jpg",
            "pred_sem_seg": {"data": torch.tensor(predicted)[None]},
            "gt_sem_seg": {"data": torch.tensor(true)[None]},
        }
        for i, (predicted, true) in enumerate(pairs)
    ]


# Two images of 2x3 pixels, 255 unlabelled, class 2 neither present nor predicted.
PAIRS = [
    ([[0, 0, 1], [1, 1, 0]], [[0, 0, 0], [1, 1, 255]]),
    ([[0, 1, 1], [0, 0, 0]], [[0, 1, 0], [0, 255, 1]]),
]


def test_iou_by_hand() -> None:
    metric = DenseIoUMetric(iou_metrics=["mIoU"], classwise=True)
    values = evaluate(metric, map_samples(PAIRS), ("a", "b", "c"))
    # class a: truth 6, predicted 5 of labelled pixels, common 4; class b: truth 4, predicted 5, 3
    iou_a, iou_b = 4 / (6 + 5 - 4), 3 / (4 + 5 - 3)
    assert metric.per_class["IoU"]["a"] == pytest.approx(100 * iou_a)
    assert metric.per_class["IoU"]["b"] == pytest.approx(100 * iou_b)
    assert np.isnan(metric.per_class["IoU"]["c"])
    assert values["mIoU"] == pytest.approx(50 * (iou_a + iou_b))
    assert values["mAcc"] == pytest.approx(50 * (4 / 6 + 3 / 4))
    assert values["aAcc"] == pytest.approx(100 * 7 / 10)


def test_dice_by_hand() -> None:
    metric = DenseIoUMetric(iou_metrics=["mDice"])
    values = evaluate(metric, map_samples(PAIRS), ("a", "b", "c"))
    assert values["mDice"] == pytest.approx(50 * (2 * 4 / (6 + 5) + 2 * 3 / (4 + 5)))
    assert metric.per_class["Dice"]["a"] == pytest.approx(100 * 2 * 4 / 11)


def test_maps_keep_the_folders_of_their_images(tmp_path: Path) -> None:
    """Else images of one name in two folders would share a map."""
    samples = map_samples(PAIRS)
    samples[0]["img_path"], samples[1]["img_path"] = "/data/images/a/x.jpg", "/data/images/b/x.jpg"
    samples[1]["reduce_zero_label"] = True
    metric = DenseIoUMetric(output_dir=str(tmp_path), image_root="/data/images")
    evaluate(metric, samples, ("a", "b", "c"))
    found = {str(p.relative_to(tmp_path)): np.array(Image.open(p)) for p in tmp_path.rglob("*.png")}
    assert found.keys() == {"a/x.png", "b/x.png"}
    np.testing.assert_array_equal(found["a/x.png"], PAIRS[0][0])
    np.testing.assert_array_equal(found["b/x.png"], np.array(PAIRS[1][0]) + 1)


@pytest.mark.parametrize("image", ["/other/x.jpg", "/data/images/../../x.jpg", "x.jpg"])
def test_maps_stay_in_their_folder(image: str) -> None:
    assert str(map_name(image, "/data/images")) == "x.png"


def test_a_map_counted_twice_is_an_error() -> None:
    samples = map_samples(PAIRS)
    with pytest.raises(RuntimeError, match="more than once: \\['0.jpg'\\]"):
        evaluate(DenseIoUMetric(iou_metrics=["mIoU"]), [*samples, samples[0]], ("a", "b", "c"))
