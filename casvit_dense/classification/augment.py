"""How training images are varied: crops, flips and RandAugment, on PIL images.

Source: ``classification/data/datasets.py``, ``build_transform``, commit 041d2d6 of
https://github.com/Tianfang-Zhang/CAS-ViT, and what timm 0.5.4 makes of it, Apache-2.0
(https://github.com/huggingface/pytorch-image-models, ``timm/data/transforms_factory.py`` and
``auto_augment.py``). There a colour jitter of 0.4 is asked for too: timm leaves it out where
RandAugment is on, so there is none here.

All random numbers are Python's and NumPy's, which every sample seeds.
"""

import math
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageEnhance, ImageOps

from casvit_dense.classification.pixels import MEAN

BICUBIC: Final = Image.Resampling.BICUBIC

#: Colour of pixels that come from outside an image.
FILL: Final = tuple(round(value) for value in MEAN)

#: The magnitude at which an operation of RandAugment is strongest.
STRONGEST: Final = 10.0


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Cuts a rectangle of random area, shape and place, and resizes it to a square.

    Args:
        size: side of the square, in pixels, where the sampler names none.
        scale: least and largest share of the image's area.
        ratio: least and largest ratio of width to height.
    """

    def __init__(
        self,
        size: int = 224,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size, self.scale, self.ratio = size, scale, ratio

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replaces ``img``; its side is ``size`` of the results where they have one."""
        image, side = results["img"], results.get("size", self.size)
        box = self.box(*image.size)
        return {**results, "img": image.crop(box).resize((side, side), BICUBIC)}

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a crop; the centre where ten attempts do not fit."""
        low, high = self.ratio
        for _ in range(10):
            area = random.uniform(*self.scale) * (width * height)
            ratio = math.exp(random.uniform(math.log(low), math.log(high)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if w <= width and h <= height:
                top, left = random.randint(0, height - h), random.randint(0, width - w)
                return left, top, left + w, top + h
        w, h = min(width, round(height * high)), min(height, round(width / low))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h


@TRANSFORMS.register_module()
class RandomHorizontalFlip(BaseTransform):
    """Mirrors left and right.

    Args:
        prob: of doing so.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replaces ``img``."""
        if random.random() >= self.prob:
            return results
        return {**results, "img": results["img"].transpose(Image.Transpose.FLIP_LEFT_RIGHT)}


@TRANSFORMS.register_module()
class RandAugmentPIL(BaseTransform):
    """RandAugment: some of fifteen operations, the same one more than once if so drawn.

    Named apart from mmdet's of other operations, which comes first where that is the scope.

    The defaults are what timm calls ``rand-m9-mstd0.5-inc1``.

    Args:
        num_ops: operations that are drawn for an image.
        prob: of carrying out one that was drawn.
        magnitude: mean of their strength, 0 to 10.
        magnitude_std: standard deviation of their strength, which is clipped to 0 to 10.
    """

    def __init__(
        self,
        num_ops: int = 2,
        prob: float = 0.5,
        magnitude: float = 9.0,
        magnitude_std: float = 0.5,
    ) -> None:
        self.num_ops, self.prob = num_ops, prob
        self.magnitude, self.magnitude_std = magnitude, magnitude_std

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replaces ``img``."""
        image = results["img"]
        for name in np.random.choice(list(OPERATIONS), self.num_ops):
            if random.random() > self.prob:
                continue
            magnitude = random.gauss(self.magnitude, self.magnitude_std)
            image = OPERATIONS[name](image, min(max(magnitude, 0.0), STRONGEST) / STRONGEST)
        return {**results, "img": image}


def either(value: float) -> float:
    """The value, or in half of the cases its negative."""
    return -value if random.random() > 0.5 else value


def affine(image: Image.Image, *matrix: float) -> Image.Image:
    """Takes pixel ``(x, y)`` from ``(a x + b y + c, d x + e y + f)``."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, BICUBIC, fillcolor=FILL)


def posterize(image: Image.Image, bits: int) -> Image.Image:
    """Keeps the highest bits of each value; none of them too, which today's Pillow refuses."""
    return image.point([value >> 8 - bits << 8 - bits for value in range(256)] * 3)


def brighten_dark(image: Image.Image, amount: int) -> Image.Image:
    """Adds to the values below 128."""
    table = [min(255, value + amount) if value < 128 else value for value in range(256)]
    return image.point(table * 3)


def enhance(kind: Any) -> Callable[[Image.Image, float], Image.Image]:
    """Weakens or strengthens a property of an image by up to nine tenths of it."""
    return lambda image, strength: kind(image).enhance(max(0.1, 1 + either(0.9 * strength)))


#: Name -> operation on an image in RGB with a strength from 0 to 1, at which it changes most.
OPERATIONS: Final[Mapping[str, Callable[[Image.Image, float], Image.Image]]] = {
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Invert": lambda image, _: ImageOps.invert(image),
    "Rotate": lambda image, s: image.rotate(either(30 * s), BICUBIC, fillcolor=FILL),
    "Posterize": lambda image, s: posterize(image, 4 - int(4 * s)),
    "Solarize": lambda image, s: ImageOps.solarize(image, 256 - int(256 * s)),
    "SolarizeAdd": lambda image, s: brighten_dark(image, int(110 * s)),
    "Color": enhance(ImageEnhance.Color),
    "Contrast": enhance(ImageEnhance.Contrast),
    "Brightness": enhance(ImageEnhance.Brightness),
    "Sharpness": enhance(ImageEnhance.Sharpness),
    "ShearX": lambda image, s: affine(image, 1, either(0.3 * s), 0, 0, 1, 0),
    "ShearY": lambda image, s: affine(image, 1, 0, 0, either(0.3 * s), 1, 0),
    "TranslateX": lambda image, s: affine(image, 1, 0, either(0.45 * s) * image.width, 0, 1, 0),
    "TranslateY": lambda image, s: affine(image, 1, 0, 0, 0, 1, either(0.45 * s) * image.height),
}
