"""An exported file that looks like a model of mmdet or mmseg to whoever evaluates it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor, nn

from casvit_dense.checkpoint.reader import file_sha256
from casvit_dense.errors import UserError
from casvit_dense.exported.description import READERS, Description, read_description
from casvit_dense.exported.paste import paste_masks
from casvit_dense.exported.runtime import Runtime, find_backend, open_runtime


def is_exported(path: str | Path) -> bool:
    """Whether a path names an exported file rather than a checkpoint, by its suffix."""
    return Path(path).suffix in READERS


@MODELS.register_module()
class ExportedModel(nn.Module):
    """Runs a written file on what a test pipeline gives, one image after the other.

    The file normalises by itself, so no data preprocessor of the config takes part.

    Args:
        file: a whole model written by ``casvit-dense export``.
        backend: see `open_runtime`.
        threads: CPU threads; default: what the runtime chooses.

    Attributes:
        description: what the file says of itself.
        num_classes: classes it tells apart.

    Raises:
        UserError: the file cannot be run, or holds a backbone only.
    """

    def __init__(self, file: str, backend: str | None = None, threads: int | None = None) -> None:
        super().__init__()
        self.file = Path(file)
        self.backend = find_backend(self.file, backend)
        self.description = read_description(self.file)
        if self.description.part != "model":
            raise UserError(f"{file} holds a backbone; only a whole model can be evaluated")
        self.num_classes = len(self.description.classes)
        self.runtime = open_runtime(self.file, backend, threads)

    @torch.no_grad()
    def test_step(self, data: Mapping[str, Any]) -> list[BaseDataElement]:
        """Predicts a batch.

        Args:
            data: ``inputs``, images ``(3, H, W)`` with BGR values from 0 to 255, and
                ``data_samples`` with their ``metainfo``.

        Returns:
            The samples with predictions in pixels of the original images.

        Raises:
            UserError: an image has another size than a file of fixed size takes.
        """
        return [
            predict_image(self.runtime, image, sample, self.description)
            for image, sample in zip(data["inputs"], data["data_samples"], strict=True)
        ]

    def facts(self) -> dict[str, Any]:
        """What ran, for the conditions of a measurement."""
        about = self.description
        return {
            "form": "exported",
            "file": str(self.file),
            "file_sha256": file_sha256(self.file),
            "backend": self.backend,
            "weights_sha256": about.weights_sha256,
            "fused": about.fused,
            "precision": about.precision,
        }


def predict_image(
    runtime: Runtime, image: Tensor, sample: Any, about: Description
) -> BaseDataElement:
    """Predicts one image.

    Args:
        runtime: runs the file.
        image: ``(3, H, W)`` with BGR values from 0 to 255.
        sample: its sample, with ``metainfo``.
        about: what the file says of itself.

    Returns:
        The sample with predictions in pixels of the original image.

    Raises:
        UserError: the image has another size than a file of fixed size takes.
    """
    if not about.dynamic and list(image.shape[1:]) != about.input_shape[2:]:
        taken, given = ("x".join(map(str, s)) for s in (about.input_shape[2:], image.shape[1:]))
        raise UserError(
            f"the exported file takes images of {taken} pixels, not {given}; export with "
            "--dynamic size, or change the test pipeline"
        )
    if about.channel_order == "RGB":
        image = image.flip(0)
    array = np.ascontiguousarray(image[None].cpu().numpy(), dtype=np.float32)
    outputs = dict(zip(about.outputs, map(torch.from_numpy, runtime(array)), strict=True))
    return FINISHERS[about.kind](outputs, sample, about)


def finish_detections(
    outputs: Mapping[str, Tensor], sample: Any, about: Description
) -> BaseDataElement:
    """Detections in pixels of the original image, as an mmdet ``DetDataSample``."""
    wide, high = sample.metainfo.get("scale_factor", (1.0, 1.0))
    boxes = outputs["boxes"] / torch.tensor([wide, high, wide, high])
    found = InstanceData(bboxes=boxes, scores=outputs["scores"], labels=outputs["labels"])
    if "masks" in outputs and about.mask_thr is not None:
        size: Sequence[int] = sample.metainfo["ori_shape"][:2]
        found.masks = paste_masks(outputs["masks"], boxes, size, about.mask_thr)
    sample.pred_instances = found
    return sample


def finish_maps(outputs: Mapping[str, Tensor], sample: Any, about: Description) -> BaseDataElement:
    """Classes in pixels of the original image, as an mmseg ``SegDataSample``.

    Scores are enlarged to the network's input first and then to the image, as mmseg does.
    """
    logits = outputs["logits"]
    for size in (sample.metainfo["img_shape"][:2], sample.metainfo["ori_shape"][:2]):
        logits = F.interpolate(
            logits, size=tuple(size), mode="bilinear", align_corners=about.align_corners
        )
    sample.seg_logits = PixelData(data=logits[0])
    sample.pred_sem_seg = PixelData(data=logits.argmax(dim=1))
    return sample


FINISHERS = {"detector": finish_detections, "segmenter": finish_maps}


def check_origin(about: Description, config: str | Path, classes: Sequence[str]) -> None:
    """Refuses a file in a run of another config.

    Args:
        about: the file's description.
        config: config file of the run.
        classes: names of the run's classes.

    Raises:
        UserError: the file was made from another config or for other classes.
    """
    stem = Path(config).stem
    if about.config != stem:
        raise UserError(f"the file was exported from the config {about.config}, not from {stem}")
    if tuple(about.classes) != tuple(classes):
        raise UserError(
            f"the file knows {len(about.classes)} classes ({shorten(about.classes)}), {stem} names "
            f"{len(classes)} ({shorten(classes)})"
        )


def check_overrides(keys: Iterable[str]) -> None:
    """Refuses overrides of the model, which is in the file as it is.

    Raises:
        UserError: with the first of them.
    """
    for key in keys:
        if is_of_model(key):
            raise UserError(f"--cfg-options {key}: has no effect on an exported file")


def is_of_model(key: str) -> bool:
    """Whether a dotted key of a config is the model or inside it."""
    return key.partition(".")[0] == "model"


def shorten(names: Sequence[str], shown: int = 3) -> str:
    """The first few names."""
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")
