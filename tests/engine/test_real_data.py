"""The three XS recipes on real COCO and ADE20K images, made small by ``--cfg-options`` alone.

Needs ``CASVIT_REAL_DATA``: a folder with ``coco-mini`` (COCO's own layout) and ``ade-mini``
(ADEChallengeData2016's layout), a few images each.
"""

import json
import os
from pathlib import Path

import pytest
import torch

from casvit_dense.cli import main
from casvit_dense.evaluations import find_evaluation

DATA = Path(os.environ.get("CASVIT_REAL_DATA", ""))
CONFIGS = Path(__file__).parents[2] / "configs"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.name, reason="CASVIT_REAL_DATA names no folder of real images"),
]

DETECTION = [
    "train_dataloader.dataset.pipeline.2.scale=(128,96)",
    "val_dataloader.dataset.pipeline.1.scale=(128,96)",
    "test_dataloader.dataset.pipeline.1.scale=(128,96)",
    "param_scheduler.0.end=5",
]
INSTANCES = [*DETECTION, "model.train_cfg.rcnn.sampler.num=32"]
SEGMENTATION = [
    "train_dataloader.dataset.pipeline.2.scale=(256,128)",
    "train_dataloader.dataset.pipeline.3.crop_size=(128,128)",
    "model.data_preprocessor.size=(128,128)",
    "val_dataloader.dataset.pipeline.1.scale=(256,128)",
    "test_dataloader.dataset.pipeline.1.scale=(256,128)",
    "default_hooks.checkpoint.interval=15",
    "train_cfg.val_interval=15",
]
COMMON = [
    "train_dataloader.num_workers=0",
    "val_dataloader.num_workers=0",
    "test_dataloader.num_workers=0",
    "default_hooks.logger.interval=1",
]
#: Config, data, overrides, what sets the length, its first and its second value, a metric.
RECIPES = {
    "retinanet": (
        *("retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco.py", "coco-mini", DETECTION),
        *("train_cfg.max_epochs", 1, 2, "coco/bbox_mAP"),
    ),
    "mask-rcnn": (
        *("mask_rcnn/mask-rcnn_casvit-xs_fpn_8xb4-1x_coco.py", "coco-mini", INSTANCES),
        *("train_cfg.max_epochs", 1, 2, "coco/segm_mAP"),
    ),
    "fpn": (
        *("sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512.py", "ade-mini", SEGMENTATION),
        *("train_cfg.max_iters", 15, 30, "mIoU"),
    ),
}


def losses(work_dir: Path) -> list[float]:
    """Mean loss of the latest steps, at every step of all runs in a work directory in order."""
    lines = [
        json.loads(line)
        for file in sorted(work_dir.glob("*/vis_data/scalars.json"))
        for line in file.read_text().splitlines()
    ]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_trains_resumes_and_evaluates(recipe: str, tmp_path: Path) -> None:
    name, data, overrides, length, first, second, metric = RECIPES[recipe]
    config, work_dir = str(CONFIGS / name), tmp_path / f"{recipe}-real"
    places = ["--data-root", str(DATA / data), "--work-dir", str(work_dir), "--seed", "0"]
    options = ["--cfg-options", *COMMON, *overrides, f"visualizer.name={recipe}-real"]

    train = ["train", config, *places, "--from-scratch"]
    assert main([*train, *options, f"{length}={first}"]) == 0
    start = losses(work_dir)
    assert start[-1] < start[0], start
    saved = (work_dir / "last_checkpoint").read_text().strip()
    assert f"_{first}.pth" in saved

    longer = [*train, "--resume", "--allow-changed-resume"]
    assert main([*longer, *options, f"{length}={second}"]) == 0
    last = (work_dir / "last_checkpoint").read_text().strip()
    assert f"_{second}.pth" in last
    whole = losses(work_dir)
    assert len(whole) == 2 * len(start)
    assert whole[-1] < 0.95 * whole[0], whole
    steps = torch.load(last, weights_only=False)["optimizer"]["state"]  # written just now
    assert {int(state["step"]) for state in steps.values()} == {len(whole)}

    assert main(["test", config, last, *places, *options]) == 0
    metrics = json.loads((find_evaluation(work_dir) / "metrics.json").read_text())["metrics"]
    assert 0 <= metrics[metric] <= 100
