"""From an image file to a classifier's pixels, by the official protocol.

Source: ``classification/data/datasets.py``, ``build_transform``, commit 041d2d6 of
https://github.com/Tianfang-Zhang/CAS-ViT.
"""

import os
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from casvit_dense.errors import UserError

#: Of ImageNet, in the order of the channels RGB, for values from 0 to 255.
MEAN: Final = (123.675, 116.28, 103.53)
STD: Final = (58.395, 57.12, 57.375)

#: From this size on, images are warped to the square, without a crop.
WARPED_FROM: Final = 384
#: Below it, share of the short side that the crop keeps.
CROP: Final = 224 / 256


def read_rgb(path: str | os.PathLike[str], upright: bool = False) -> Image.Image:
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


def normalised(image: Image.Image, size: int = 224, bgr: bool = False) -> Tensor:
    """An image as a classifier of ImageNet takes it, by the official protocol.

    Args:
        image: in RGB.
        size: of the square that is cut, in pixels.
        bgr: exchange the channels, with the means of RGB all the same, as the data sets of the
            first official release did.

    Returns:
        ``(3, size, size)``, float32.
    """
    pixels = np.asarray(evaluated(image, size), np.float32)
    pixels = pixels[..., ::-1] if bgr else pixels
    scaled = (pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))
