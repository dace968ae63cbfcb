"""Tiny models of each head with random weights, and the files that the command exports them to."""

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from filelock import FileLock
from mmengine.config import Config
from torch import nn

from casvit_dense.cli import main
from casvit_dense.config.read import register_scope
from casvit_dense.export import exporter

DEMO = Path(__file__).parents[2] / "configs" / "demo"

# Tracing takes nearly all of an export's time, and as long for small images and few channels as for
# large ones. So these have two pyramid levels, of which Mask R-CNN pools from the first, and one
# convolution in each branch; the detectors one stage, whose map the neck halves, the segmenter two.
MODEL = """
_base_ = "{base}"
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, depths=[1, 1, 1, 1], dims=[8, 16, 16, 16]), out_indices={indices}
    ),
    neck=dict(in_channels={channels}, out_channels=16, num_outs=2),
"""
CONFIGS = {
    "retinanet": MODEL.format(
        base=DEMO / "retinanet_casvit-mini_fpn_shapes.py", indices=(0,), channels=[8]
    )
    + """
    bbox_head=dict(
        in_channels=16, feat_channels=16, stacked_convs=1, anchor_generator=dict(strides=[4, 8])
    ),
)
""",
    "mask-rcnn": MODEL.format(
        base=DEMO / "mask-rcnn_casvit-mini_fpn_shapes.py", indices=(0,), channels=[8]
    )
    + """
    rpn_head=dict(in_channels=16, feat_channels=16, anchor_generator=dict(strides=[4, 8])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16, featmap_strides=[4]),
        bbox_head=dict(in_channels=16, fc_out_channels=16),
        mask_roi_extractor=dict(out_channels=16, featmap_strides=[4]),
        mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16),
    ),
)
""",
    "fpn": MODEL.format(base=DEMO / "fpn_casvit-mini_shapes.py", indices=(0, 1), channels=[8, 16])
    + """
    decode_head=dict(
        in_channels=[16, 16], in_index=[0, 1], feature_strides=[4, 8], channels=16
    ),
)
""",
}

#: RetinaNet's steps are those of Mask R-CNN's proposals, and tracing it takes half a minute.
TRACED = [pytest.param("retinanet", marks=pytest.mark.slow), "mask-rcnn", "fpn"]


@dataclass(frozen=True)
class Model:
    """A config with random weights, its data, and the file it was exported to."""

    config: Path
    checkpoint: Path
    data: Path
    exported: Path
    messages: str

    def arguments(self, *more: object, file: Path | None = None) -> list[str]:
        return list(map(str, (self.config, file or self.checkpoint, *more)))


def lively(model: nn.Module) -> nn.Module:
    """Random weights whose scores spread, so that thresholds and suppression have work to do."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if re.search(r"(rpn_|fc_)cls\.weight", name):
            nn.init.normal_(parameter, std=0.5)
        if "retina_cls.weight" in name:  # its bias starts low
            nn.init.normal_(parameter, std=0.1)
        if re.search(r"(retina|rpn|fc)_reg\.weight", name):
            nn.init.normal_(parameter, std=0.05)
    for name, statistic in model.named_buffers():  # norms that do something
        if name.endswith("running_mean"):
            statistic.normal_(std=0.2)
        if name.endswith("running_var"):
            statistic.uniform_(0.5, 2.0)
    return model


class Models(dict[str, Model]):
    """Each head, exported with the command's defaults when it is first asked for.

    The processes of one run share the files: each head is exported once.
    """

    def __init__(self, folder: Path, shapes: Path) -> None:
        super().__init__()
        self.folder = folder
        self.shapes = shapes

    def __missing__(self, name: str) -> Model:
        self.folder.mkdir(exist_ok=True)
        finished = self.folder / f"{name}.txt"
        with FileLock(self.folder / f"{name}.lock"):
            if not finished.exists():
                finished.write_text(export_model(name, self.folder, self.shapes))
        self[name] = Model(
            config=config_of(name, self.folder),
            checkpoint=self.folder / f"{name}.pth",
            data=data_of(name, self.shapes),
            exported=self.folder / f"{name}.onnx",
            messages=finished.read_text(),
        )
        return self[name]


def config_of(name: str, folder: Path) -> Path:
    return folder / f"tiny-{name}.py"


def data_of(name: str, shapes: Path) -> Path:
    return shapes / ("ade" if name == "fpn" else "coco")


def write_model(name: str, folder: Path) -> tuple[Path, Path]:
    """Writes a config and random weights."""
    config, checkpoint = config_of(name, folder), folder / f"{name}.pth"
    config.write_text(CONFIGS[name])
    cfg = Config.fromfile(config)
    registry = __import__(f"{register_scope(cfg)}.registry").registry
    torch.manual_seed(0)  # of layers that `lively` leaves as they are built
    torch.save({"state_dict": lively(registry.MODELS.build(cfg.model)).state_dict()}, checkpoint)
    return config, checkpoint


def export_model(name: str, folder: Path, shapes: Path) -> str:
    """Writes config, weights and exported file; returns what the export printed."""
    config, checkpoint = write_model(name, folder)
    messages: list[str] = []
    options = exporter.ExportOptions(
        out=folder / f"{name}.onnx", data_root=str(data_of(name, shapes)), size=(96, 128)
    )
    exporter.export(config, checkpoint, options, log=messages.append)
    return "\n".join(messages)


def picture(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(5).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def export(model: Model, *more: object) -> int:
    return main(["export", *model.arguments("--data-root", model.data, *more)])
