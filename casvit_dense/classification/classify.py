"""The likeliest classes of images."""

from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from casvit_dense.classification.model import ImageClassifier
from casvit_dense.classification.pixels import MEAN, STD, evaluated, read_rgb

#: Names of ImageNet's 1,000 classes in the order of their synsets, as torchvision shortens them.
IMAGENET_FILE: Final = "imagenet_classes.txt"


def imagenet_names() -> list[str]:
    """Names of ImageNet's 1,000 classes, in the order of their labels."""
    return files(__package__).joinpath(IMAGENET_FILE).read_text().splitlines()


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


@torch.inference_mode()
def scores_of(
    model: ImageClassifier, images: Iterable[Path], size: int = 224, bgr: bool = False
) -> Iterator[Tensor]:
    """Probabilities ``(num_classes,)`` of each image; the model must be in eval mode.

    Raises:
        UserError: an image cannot be read.
    """
    device = next(model.parameters()).device
    for file in images:
        pixels = normalised(read_rgb(file, upright=True), size, bgr)
        yield model(pixels[None].to(device))[0].softmax(0).cpu()


def likeliest(scores: Tensor, names: Sequence[str], count: int = 5) -> list[tuple[str, float]]:
    """The first names with their probabilities, the likeliest first."""
    values, labels = scores.topk(min(count, len(scores)))
    return [(names[i], float(v)) for i, v in zip(labels.tolist(), values.tolist(), strict=True)]
