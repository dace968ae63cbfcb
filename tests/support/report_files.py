"""What a report is made of, generated: test folders with predictions, a ledger, training logs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ledger_rows
import numpy as np
from PIL import Image
from pycocotools.coco import COCO

from casvit_dense.data.shapes import SHAPES
from casvit_dense.results.ledger import append_rows
from casvit_dense.results.lines import row_id
from casvit_dense.results.row import Dataset, Evaluation

#: What a careless page would run.
HOSTILE = "<script>alert(1)</script>"
DETECTOR, SEGMENTER = "mask-rcnn_casvit-mini_fpn_shapes", "fpn_casvit-mini_shapes"


def make_ledger(root: Path, shapes: Path) -> Path:
    """A ledger of a detector and a segmenter on generated shapes, and three compared models.

    Args:
        root: folder to fill, with work directories as `casvit-dense test` leaves them.
        shapes: generated data set in both layouts.

    Returns:
        The ledger.
    """
    detector = result_row(DETECTOR, {"coco/bbox_mAP": 0.5, "coco/segm_mAP": 0.4}, "a")
    segmenter = result_row(SEGMENTER, {"mIoU": 80.0, "mAcc": 90.0}, "b")
    write_detections(root / detector.folder, detector, shapes / "coco")
    write_maps(root / segmenter.folder, segmenter, shapes / "ade")
    write_log(root / DETECTOR, ("loss", "loss_cls", "lr"), "coco/bbox_mAP", epochs=3)
    write_log(root / SEGMENTER, ("loss", "lr"), "mIoU", epochs=0)
    compared = [
        ledger_rows.evaluation(ledger_rows.RETINANET),
        ledger_rows.evaluation(
            ledger_rows.MASK_RCNN, metrics={"coco/bbox_mAP": 0.4, "coco/segm_mAP": 0.3}
        ),
        ledger_rows.evaluation(ledger_rows.SEM_FPN, dataset=ledger_rows.COCO),
    ]
    ledger = root / "results.jsonl"
    append_rows(ledger, [detector, segmenter, *compared, ledger_rows.speed()])
    return ledger


def result_row(config: str, metrics: dict[str, float], weights: str, **changes: Any) -> Evaluation:
    """A row of a config that nothing was published of."""
    template = ledger_rows.evaluation(ledger_rows.RETINANET, 0, weights)
    values = {
        "config": config,
        "metrics": metrics,
        "training": None,
        "dataset": Dataset(
            name="Shapes", annotations_sha256=weights * 64, images=5, classes=3, objects=9
        ),
        "folder": f"{config}/test",
        "command": f"casvit-dense test configs/demo/{config}.py 'my weights.pth' --seed 0",
    }
    return template.model_copy(update={**values, **changes})


def write_detections(
    folder: Path, row: Evaluation, root: Path, indices: Sequence[int] | None = None
) -> None:
    """Predictions like the truth, shifted a little, some of another class, some invented.

    Args:
        folder: to write into.
        row: of the ledger that they belong to.
        root: data set in COCO's layout, with ``val2017``.
        indices: positions of the images that were evaluated; all by default.
    """
    truth = COCO(root / "annotations/instances_val2017.json")
    ids = truth.getImgIds() if indices is None else [truth.getImgIds()[i] for i in indices]
    rng = np.random.default_rng(0)
    categories = truth.getCatIds()
    results = []
    for image_id in ids:
        for annotation in truth.loadAnns(truth.getAnnIds(image_id)):
            mask = truth.annToMask(annotation)
            shifted = np.roll(mask, rng.integers(-2, 3, 2), (0, 1))
            category = annotation["category_id"]
            if rng.random() < 0.3:
                category = int(rng.choice(categories))
            results.append(detection(image_id, category, shifted, rng.uniform(0.3, 1)))
        blob = np.zeros((truth.imgs[image_id]["height"], truth.imgs[image_id]["width"]), np.uint8)
        blob[2:12, 3:15] = 1
        results.append(detection(image_id, categories[0], blob, rng.uniform(0.02, 0.4)))
    names = [truth.cats[i]["name"] for i in categories]
    dataset = {
        "type": "CocoDataset",
        "data_root": str(root),
        "ann_file": "annotations/instances_val2017.json",
        "data_prefix": {"img": "val2017/"},
        "indices": None if indices is None else list(indices),
    }
    kinds = ("bbox", "segm")
    write_metrics(folder, row, dataset, {kind: dict.fromkeys(names, 0.5) for kind in kinds})
    for kind in kinds:
        (folder / f"predictions.{kind}.json").write_text(json.dumps(results))


def detection(image_id: int, category: int, mask: np.ndarray, score: float) -> dict[str, Any]:
    """A result with box and mask."""
    from pycocotools import mask as rle

    code = rle.encode(np.asfortranarray(mask))
    return {
        "image_id": image_id,
        "category_id": category,
        "bbox": rle.toBbox(code).tolist(),
        "score": float(score),
        "segmentation": {"size": list(mask.shape), "counts": code["counts"].decode()},
    }


def write_maps(folder: Path, row: Evaluation, root: Path) -> None:
    """Predicted maps: the truth moved by some pixels."""
    dataset = {
        "type": "BaseSegDataset",
        "data_root": str(root),
        "data_prefix": {
            "img_path": "images/validation",
            "seg_map_path": "annotations/validation",
        },
        "img_suffix": ".png",
        "reduce_zero_label": True,
    }
    classes = ("background", *SHAPES)
    write_metrics(folder, row, dataset, {"IoU": dict.fromkeys(classes, 50.0)}, images=5)
    (folder / "maps").mkdir()
    for path in sorted((root / "annotations/validation").glob("*.png")):
        moved = np.roll(np.asarray(Image.open(path)), (3, 2), (0, 1))
        Image.fromarray(np.maximum(moved, 1)).save(folder / "maps" / path.name)


def write_metrics(
    folder: Path,
    row: Evaluation,
    dataset: dict[str, Any],
    per_class: dict[str, dict[str, float]],
    **conditions: Any,
) -> None:
    """The ``metrics.json`` of an evaluation."""
    folder.mkdir(parents=True)
    content = {
        "row": row_id(row),
        "config": row.config,
        "metrics": {},
        "per_class": per_class,
        "conditions": {"dataset": dataset, **conditions},
    }
    (folder / "metrics.json").write_text(json.dumps(content))


def write_log(run: Path, scalars: Sequence[str], metric: str, epochs: int) -> Path:
    """A training log of ten steps an epoch, validated after each; or of iterations alone."""
    lines = []
    for epoch in range(1, (epochs or 1) + 1):
        for step in range(1, 11):
            iteration = 10 * (epoch - 1) + step
            count = {"epoch": epoch} if epochs else {}
            values = {name: 1 / iteration for name in scalars}
            lines.append({**values, "time": 0.1, **count, "iter": iteration, "step": iteration})
        lines.append({metric: 0.1 * epoch, "time": 0.1, "step": epoch if epochs else 10})
    log = run / "20261122_120000/vis_data/scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return log


def rename(root: Path, category: str, image: int, file: str) -> None:
    """Gives the first category and an image of a COCO data set other names."""
    path = root / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = category
    record = content["images"][image]
    (root / "val2017" / record["file_name"]).rename(root / "val2017" / file)
    record["file_name"] = file
    path.write_text(json.dumps(content))
