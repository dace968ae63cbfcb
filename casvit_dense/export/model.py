"""An exported file behind the interface by which mmengine tests a model."""

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
from casvit_dense.errors import UserError, shortlist
from casvit_dense.export.description import READERS, Description, read_description
from casvit_dense.export.runtime import Runtime, find_backend, open_runtime


def is_exported(path: str | Path) -> bool:
    """Whether a path names an exported file rather than a checkpoint, by its suffix."""
    return Path(path).suffix in READERS


@MODELS.register_module()
class ExportedModel(nn.Module):
    """Runs an exported file on the output of a test pipeline, one image after the other.

    The file contains normalisation and padding, so the config's data preprocessor is not used.

    Args:
        file: a whole model written by ``casvit-dense export``.

    Raises:
        UserError: the file cannot be run, or holds a backbone only.
    """

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = Path(file)
        self.backend = find_backend(self.file)  # before the file is read: some are never run
        self.description = read_description(self.file)
        if self.description.part != "model":
            raise UserError(f"{file} holds a backbone; only a whole model can be evaluated")
        self.num_classes = len(self.description.classes)
        self.runtime = open_runtime(self.file, self.backend)

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
        """What ran, to be recorded with an evaluation."""
        description = self.description
        return {
            "form": "exported",
            "file": str(self.file),
            "file_sha256": file_sha256(self.file),
            "backend": self.backend,
            "weights_sha256": description.weights_sha256,
            "fused": description.fused,
            "precision": description.precision,
        }


def predict_image(
    runtime: Runtime, image: Tensor, sample: Any, description: Description
) -> BaseDataElement:
    """Predicts one image.

    Args:
        image: ``(3, H, W)`` with BGR values from 0 to 255.

    Returns:
        The sample with predictions in pixels of the original image.

    Raises:
        UserError: the image has another size than a file of fixed size takes, or the file names
            fewer classes than its network has.
    """
    if not description.dynamic and tuple(image.shape[1:]) != description.input_shape[2:]:
        taken, given = (
            "x".join(map(str, s)) for s in (description.input_shape[2:], image.shape[1:])
        )
        raise UserError(
            f"the exported file takes images of {taken} pixels, not {given}; export with "
            "--dynamic size, or change the test pipeline"
        )
    if description.channel_order == "RGB":
        image = image.flip(0)
    array = np.ascontiguousarray(image[None].cpu().numpy(), dtype=np.float32)
    outputs = dict(zip(description.outputs, map(torch.from_numpy, runtime(array)), strict=True))
    check_labels(outputs, description)
    return TO_SAMPLE[description.kind](outputs, sample, description)


def check_labels(outputs: Mapping[str, Tensor], description: Description) -> None:
    """Refuses outputs of more classes than the file names."""
    if "logits" in outputs:
        highest = outputs["logits"].shape[1]
    else:
        highest = 1 + max(outputs["labels"].flatten().tolist(), default=-1)
    if highest > (count := len(description.classes)):
        raise UserError(
            f"the exported file names {count} classes, and its network gives class {highest}; "
            "export it anew"
        )


def to_det_sample(
    outputs: Mapping[str, Tensor], sample: Any, description: Description
) -> BaseDataElement:
    """Detections in pixels of the original image, as an mmdet ``DetDataSample``."""
    wide, high = sample.metainfo.get("scale_factor", (1.0, 1.0))
    boxes = outputs["boxes"] / torch.tensor([wide, high, wide, high])
    found = InstanceData(bboxes=boxes, scores=outputs["scores"], labels=outputs["labels"])
    if "masks" in outputs and description.mask_thr is not None:
        size: Sequence[int] = sample.metainfo["ori_shape"][:2]
        found.masks = paste_masks(outputs["masks"], boxes, size, description.mask_thr)
    sample.pred_instances = found
    return sample


def to_seg_sample(
    outputs: Mapping[str, Tensor], sample: Any, description: Description
) -> BaseDataElement:
    """Classes in pixels of the original image, as an mmseg ``SegDataSample``.

    Logits are upsampled to the network's input first and then to the image, as mmseg does.
    """
    logits = outputs["logits"]
    for size in (sample.metainfo["img_shape"][:2], sample.metainfo["ori_shape"][:2]):
        logits = F.interpolate(
            logits, size=tuple(size), mode="bilinear", align_corners=description.align_corners
        )
    sample.seg_logits = PixelData(data=logits[0])
    sample.pred_sem_seg = PixelData(data=logits.argmax(dim=1))
    return sample


def paste_masks(probabilities: Tensor, boxes: Tensor, size: Sequence[int], thr: float) -> Tensor:
    """Samples each grid at the pixel centres of its box (mmdet's ``_do_paste_mask``).

    Args:
        probabilities: ``(n, h, w)``.
        boxes: ``(n, 4)`` as x1, y1, x2, y2 in pixels of the image.
        size: height and width of the image.
        thr: least probability of the object's pixels.

    Returns:
        ``(n, height, width)``, bool.
    """
    height, width = size
    pasted = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, grid, box in zip(pasted, probabilities, boxes, strict=True):
        # One pixel more on every side: the grid's edge cells fade out beyond the box.
        x1, y1 = (max(int(value.floor()) - 1, 0) for value in box[:2])
        x2 = min(int(box[2].ceil()) + 1, width)
        y2 = min(int(box[3].ceil()) + 1, height)
        x = centres(x1, x2, box[0], box[2])
        y = centres(y1, y2, box[1], box[3])
        where = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
        mask[y1:y2, x1:x2] = (
            F.grid_sample(grid[None, None], where, align_corners=False)[0, 0] >= thr
        )
    return pasted


def centres(first: int, stop: int, low: Tensor, high: Tensor) -> Tensor:
    """Pixel centres along one side, from -1 at the box's lower edge to 1 at its upper one."""
    places = (torch.arange(first, stop) + 0.5 - low) / (high - low) * 2 - 1
    return torch.nan_to_num(places, nan=0.0, posinf=0.0, neginf=0.0)  # a box without extent


TO_SAMPLE = {"detector": to_det_sample, "segmenter": to_seg_sample}


def check_origin(description: Description, config: str | Path, classes: Sequence[str]) -> None:
    """Refuses a file that was made from another config, or for other classes, than the run's."""
    stem, own = Path(config).stem, description.classes
    if description.config != stem:
        raise UserError(
            f"the file was exported from the config {description.config}, not from {stem}"
        )
    if own != list(classes):
        raise UserError(
            f"the file knows {len(own)} classes ({shortlist(own, 3)}), {stem} names "
            f"{len(classes)} ({shortlist(classes, 3)})"
        )


def check_overrides(keys: Iterable[str]) -> None:
    """Refuses overrides of the model, which the file contains unchangeably."""
    for key in keys:
        if is_of_model(key):
            raise UserError(f"--cfg-options {key}: has no effect on an exported file")


def is_of_model(key: str) -> bool:
    """Whether a dotted key of a config is the model or inside it."""
    return key.partition(".")[0] == "model"
