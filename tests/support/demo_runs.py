"""The demo's configs made a matter of seconds, and weights that detect something."""

import json
from contextlib import redirect_stdout
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from exported_models import lively
from mmengine.config import Config

from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.engine.train import train
from casvit_dense.options import RunOptions
from casvit_dense.results.hashes import ConfigHashes, hashes_of

CONFIGS = Path(__file__).parents[2] / "configs"

#: Head -> its config, the layout of its data, its main metric.
TASKS = {
    "retinanet": ("retinanet_casvit-mini_fpn_shapes", "coco", "coco/bbox_mAP"),
    "mask-rcnn": ("mask-rcnn_casvit-mini_fpn_shapes", "coco", "coco/segm_mAP"),
    "fpn": ("fpn_casvit-mini_shapes", "ade", "mIoU"),
}
SMALL = (64, 64)


def config_of(task: str) -> Path:
    return CONFIGS / "demo" / f"{TASKS[task][0]}.py"


def options_of(task: str, shapes: Path, work_dir: Path, rounds: int = 1) -> RunOptions:
    """Short runs on small images; a round is an epoch, or 2 iterations of ``fpn``."""
    length = {"train_cfg.max_iters": 2 * rounds, "train_cfg.val_interval": 2}
    if task != "fpn":
        length = {"train_cfg.max_epochs": rounds, "train_cfg.val_interval": 1}
    overrides = {
        **length,
        "default_hooks.checkpoint.interval": 2 if task == "fpn" else 1,
        "train_dataloader.batch_size": 4,
        "train_dataloader.dataset.pipeline.2.scale": SMALL,
        "val_dataloader.dataset.pipeline.1.scale": SMALL,
        "test_dataloader.dataset.pipeline.1.scale": SMALL,
        "custom_hooks.0.seconds": 0.0,
        # mmengine keeps one logger a name in a process; names end in the second of their making.
        "experiment_name": work_dir.name,
    }
    data_root = str(shapes / TASKS[task][1])
    return RunOptions(work_dir=work_dir, data_root=data_root, seed=0, cfg_options=overrides)


@cache
def _read(config: Path) -> Config:
    return Config.fromfile(config)


def hashes_by_hand(config: Path, overrides: dict[str, Any]) -> ConfigHashes:
    """The hashes of a config with overrides, without `resolve`."""
    cfg = deepcopy(_read(config))
    cfg.merge_from_dict(overrides)
    return hashes_of(cfg.to_dict())


def log_of(work_dir: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(work_dir.glob("*/*.log")))


def save_lively(task: str, file: Path) -> Path:
    """A checkpoint of random weights whose scores spread, so that much is detected."""
    cfg = resolve(config_of(task), RunOptions()).config
    models = __import__(f"{register_scope(cfg)}.registry", fromlist=["MODELS"]).MODELS
    torch.manual_seed(1)  # of what `lively` leaves as it was built
    model = lively(models.build(cfg.model))
    if task == "mask-rcnn":  # else nearly all masks are empty
        torch.nn.init.constant_(model.roi_head.mask_head.conv_logits.bias, 0.1)
    torch.save({"state_dict": model.state_dict()}, file)
    return file


def take_as_truth(predictions: Path, shapes: Path, root: Path, each: int = 3) -> Path:
    """Makes a model's own best detections the truth, so that its AP is far from 0.

    Args:
        predictions: in COCO's results format.
        shapes: the generated data, whose images are used.
        root: new data root.
        each: how many an image.
    """
    content = json.loads((shapes / "coco/annotations/instances_val2017.json").read_text())
    found = json.loads(predictions.read_text())
    annotations = []
    for image in content["images"]:
        best = sorted(
            (r for r in found if r["image_id"] == image["id"] and min(r["bbox"][2:]) > 2),
            key=lambda result: -result["score"],
        )
        for result in best[:each]:
            x, y, width, height = result["bbox"]
            outline = [x, y, x + width, y, x + width, y + height, x, y + height]
            more = {"id": len(annotations) + 1, "area": width * height, "iscrowd": 0}
            annotations.append({"segmentation": [outline], **result, **more})
    assert len(annotations) == each * len(content["images"])
    file = root / "annotations/instances_val2017.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({**content, "annotations": annotations}))
    (root / "val2017").symlink_to(shapes / "coco/val2017")
    return root


class Runs(dict[str, Path]):
    """The checkpoint of each head after one round, trained when it is first asked for.

    What the training showed is in ``console.txt`` beside it.
    """

    def __init__(self, folder: Path, shapes: Path) -> None:
        super().__init__()
        self.folder = folder
        self.shapes = shapes

    def __missing__(self, task: str) -> Path:
        work_dir = self.folder / f"{task}-trained"
        work_dir.mkdir()
        with (work_dir / "console.txt").open("w") as console, redirect_stdout(console):
            self[task] = train(config_of(task), options_of(task, self.shapes, work_dir))
        return self[task]
