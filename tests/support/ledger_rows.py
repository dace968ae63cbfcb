"""Rows by hand: an evaluation that reproduces its config, and whatever differs from it."""

from datetime import datetime, timedelta, timezone
from typing import Any

from casvit_dense.results.hashes import zoo_config
from casvit_dense.results.measurements import Speed
from casvit_dense.results.row import Dataset, Evaluation, Software, Training, Weights

RETINANET = "retinanet_casvit-xs_fpn_8xb4-1x_coco"
MASK_RCNN = "mask-rcnn_casvit-xs_fpn_8xb4-1x_coco"
SEM_FPN = "fpn_casvit-xs_8xb4-40k_ade20k-512x512"

START = datetime(2026, 11, 1, tzinfo=timezone.utc)
COCO = Dataset(
    name="CocoDataset", annotations_sha256="1" * 64, images=5000, classes=80, objects=36781
)
ADE20K = Dataset(name="ADE20KDataset", annotations_sha256="2" * 64, images=2000, classes=150)
IMAGENET = Dataset(name="ImageNetFolder", annotations_sha256="3" * 64, images=50000, classes=1000)


def trained(config: str, seed: int | None = 0, **changes: Any) -> Training:
    """The training that a config's recipe asks for."""
    ours = zoo_config(config)
    assert ours is not None
    steps = 40_000 if "ade20k" in config else 43_980  # 12 epochs of 117,266 images by 32
    values = {
        "recipe_sha256": ours.hashes.recipe,
        "global_batch": 32,
        "iterations": steps,
        "planned_iterations": steps,
        "images": 20_210 if "ade20k" in config else 117_266,
        "seed": seed,
    }
    return Training(**{**values, **changes})


def evaluation(config: str = RETINANET, hour: int = 0, file: str = "a", **changes: Any) -> Any:
    """A row that may be compared with the published figures of its config.

    Args:
        config: stem.
        hour: of its date; higher is newer.
        file: a hexadecimal digit that stands for the weight file.
        **changes: fields that are otherwise.
    """
    ours = zoo_config(config)
    assert ours is not None
    ade = "ade20k" in config
    values: dict[str, Any] = {
        "date": START + timedelta(hours=hour),
        "device": "GPU",
        "threads": 1,
        "precision": "fp32",
        "form": "reference",
        "backend": "eager",
        "software": Software(versions={"torch": "2.13.0"}, python="3.11.7", commit="1234567"),
        "config": config,
        "config_sha256": ours.hashes.config,
        "pipeline_sha256": ours.hashes.pipeline,
        "recipe_sha256": ours.hashes.recipe,
        "weights": Weights(file="epoch_12.pth", sha256=file * 64),
        "training": trained(config),
        "dataset": ADE20K if ade else COCO,
        "metrics": {"mIoU": 37.1} if ade else {"coco/bbox_mAP": 0.365, "coco/segm_mAP": 0.349},
    }
    return Evaluation(**{**values, **changes})


def speed(number: int = 0) -> Speed:
    """A timed row; ``number`` tells it from others."""
    return Speed(
        date=START + timedelta(seconds=number),
        device="CPU",
        threads=2,
        precision="fp32",
        form="fused",
        backend="eager",
        software=Software(versions={"torch": "2.13.0"}),
        model="casvit-xs",
        part="backbone",
        mode="infer",
        size="512x512",
        batch=1,
        median_ms=1.0 + number,
    )
