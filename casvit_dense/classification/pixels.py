"""From an image file to a classifier's pixels, by the official protocol.

Source: ``classification/data/datasets.py``, ``build_transform``, commit 041d2d6 of
https://github.com/Tianfang-Zhang/CAS-ViT.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement
from PIL import Image, ImageOps, UnidentifiedImageError

from casvit_dense.errors import UserError

#: Of ImageNet, in the order of the channels RGB, for values from 0 to 255.
MEAN: Final = (123.675, 116.28, 103.53)
STD: Final = (58.395, 57.12, 57.375)

#: From this size on, images are warped to the square, without a crop.
WARPED_FROM: Final = 384
#: Below it, share of the short side that the crop keeps.
CROP: Final = 224 / 256


def read_rgb(path: str | Path, upright: bool = False) -> Image.Image:
    """Reads an image in RGB.

    Args:
        path: image file.
        upright: turn it as its EXIF data say. ImageNet's protocol does not.

    Raises:
        UserError: it is no image, or cannot be read.
    """
    try:
        with Image.open(path) as image:
            return (ImageOps.exif_transpose(image) if upright else image).convert("RGB")
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not an image") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def evaluated(image: Image.Image, size: int) -> Image.Image:
    """The square of an image that is classified.

    Args:
        image: of any size.
        size: of the square, in pixels.
    """
    bicubic = Image.Resampling.BICUBIC
    if size >= WARPED_FROM:
        return image.resize((size, size), bicubic)
    width, height = image.size
    short = int(size / CROP)
    if width < height:
        image = image.resize((short, int(short * height / width)), bicubic)
    else:
        image = image.resize((int(short * width / height), short), bicubic)
    left, top = (round((side - size) / 2) for side in image.size)
    return image.crop((left, top, left + size, top + size))


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
