"""The likeliest classes of images, and how often they are right."""

from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor

from casvit_dense.checkpoint.formats import known_classes
from casvit_dense.checkpoint.reader import read_checkpoint
from casvit_dense.classification.model import ImageClassifier
from casvit_dense.classification.pixels import WARPED_FROM, normalised, read_rgb
from casvit_dense.errors import UserError
from casvit_dense.files import config_folder
from casvit_dense.progress import Progress

#: Names of ImageNet's 1,000 classes in the order of their synsets, as torchvision shortens them.
IMAGENET_FILE: Final = "imagenet_classes.txt"


def imagenet_names() -> list[str]:
    """Names of ImageNet's 1,000 classes, in the order of their labels."""
    return files(__package__).joinpath(IMAGENET_FILE).read_text().splitlines()


@torch.inference_mode()
def scores_of(
    model: ImageClassifier,
    images: Sequence[Path],
    size: int,
    bgr: bool = False,
    log: Callable[[str], None] = print,
) -> Iterator[Tensor]:
    """Probabilities ``(num_classes,)`` of each image; the model must be in eval mode.

    Args:
        model: the classifier.
        images: files.
        size: of the square that is classified, in pixels.
        bgr: see `normalised`.
        log: called with a line of progress every few seconds.

    Raises:
        UserError: an image cannot be read.
    """
    device = next(model.parameters()).device
    for file in Progress("image", len(images), seconds=5).track(images, log):
        pixels = normalised(read_rgb(file, upright=True), size, bgr)
        yield model(pixels[None].to(device))[0].softmax(0).cpu()


def likeliest(scores: Tensor, names: Sequence[str], count: int = 5) -> list[tuple[str, float]]:
    """The first names with their probabilities, the likeliest first."""
    values, labels = scores.topk(min(count, len(scores)))
    return [(names[i], float(v)) for i, v in zip(labels.tolist(), values.tolist(), strict=True)]


def top_lines(
    config: Config,
    weights: str,
    images: Sequence[Path],
    size: int,
    log: Callable[[str], None] = print,
) -> Iterator[str]:
    """A line for each image, with its five likeliest classes.

    Raises:
        UserError: the weights cannot be read safely or do not fit, or an image cannot be read.
    """
    model: Any = MODELS.build(without_weights(config).model)
    model.load_file(weights)
    names = names_of(weights, model.num_classes)
    for file, scores in zip(images, scores_of(model.eval(), images, size, log=log), strict=True):
        found = likeliest(scores, names)
        yield f"{file}: {', '.join(f'{name} {100 * share:.1f} %' for name, share in found)}"


def names_of(weights: str, count: int) -> list[str]:
    """The classes of a file: as it says, ImageNet's where there are 1,000, else numbers."""
    known = known_classes(read_checkpoint(weights))
    if known is not None and len(known) == count:
        return known
    return imagenet_names() if count == 1000 else [f"class {number}" for number in range(count)]


def without_weights(config: Config) -> Config:
    """A copy of a config whose backbone begins without a file."""
    copy = Config(config.to_dict(), filename=config.filename)
    copy.model.backbone.init_cfg = None
    return copy


def check_classifier(config: Config) -> None:
    """Looks whether a config is of a classifier.

    Raises:
        UserError: it is not.
    """
    kind = (config.get("model") or {}).get("type")
    if kind != "ImageClassifier":
        raise UserError(
            f"{config.filename} is no config of a classifier (its model is {kind}); give a name "
            "such as casvit-xs, or one of configs/imagenet; predict is for detectors and segmenters"
        )


def config_of(arch: str, size: int) -> Path:
    """The config of a published variant for images of a size, in pixels."""
    stem = f"casvit-{arch}_8xb256_in1k"
    if size >= WARPED_FROM:
        stem = f"casvit-{arch}_8xb64-30e_in1k-384"
    return config_folder() / f"imagenet/{stem}.py"


def crop_size(config: Config) -> int:
    """Side of the squares, in pixels, that a classifier's config evaluates."""
    steps = config.test_dataloader.dataset.pipeline
    return next((step.size for step in steps if step.type == "EvaluationCrop"), 224)


def evaluation_config(config: Config, folder: Path, size: int) -> Config:
    """A classifier's config for the evaluation of a folder of classes.

    Args:
        folder: with a folder for each class.
        size: of the images, in pixels.
    """
    changed = Config(config.to_dict(), filename=config.filename)
    dataset = changed.test_dataloader.dataset
    dataset.update(data_root=str(folder), data_prefix={"img_path": ""})
    for step in dataset.pipeline:
        if step.type == "EvaluationCrop":
            step.size = size
    return changed
