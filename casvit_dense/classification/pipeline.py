"""Steps of the evaluation's pipeline, on PIL images."""

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement

from casvit_dense.classification.pixels import evaluated, read_rgb
from casvit_dense.errors import UserError


@TRANSFORMS.register_module()
class ReadRGB(BaseTransform):
    """Reads the image of ``img_path`` as ``img``, a PIL image in RGB."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Adds ``img``.

        Raises:
            OSError: as of any broken file, which a training may replace.
        """
        try:
            return {**results, "img": read_rgb(results["img_path"])}
        except UserError as error:
            raise OSError(str(error)) from error


@TRANSFORMS.register_module()
class EvaluationCrop(BaseTransform):
    """Cuts the square that is classified; see `evaluated`.

    Args:
        size: of the square, in pixels.
    """

    def __init__(self, size: int = 224) -> None:
        self.size = size

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replaces ``img``."""
        return {**results, "img": evaluated(results["img"], self.size)}


@TRANSFORMS.register_module()
class PackClassInputs(BaseTransform):
    """Packs ``img`` as ``inputs`` ``(3, H, W)``, uint8, and label and path as a sample."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """The packed sample."""
        pixels = np.array(results["img"], np.uint8)
        sample = BaseDataElement(metainfo={"img_path": results["img_path"]})
        if results.get("gt_label") is not None:
            sample.gt_label = results["gt_label"]
        return {
            "inputs": torch.from_numpy(pixels).permute(2, 0, 1).contiguous(),
            "data_samples": sample,
        }
