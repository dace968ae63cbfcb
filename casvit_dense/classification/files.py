"""Classification files of any known format, with the names of our classifiers."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from casvit_dense.checkpoint.formats import Weights, read_weights, renamed
from casvit_dense.errors import UserError

#: How the names of each head begin.
HEADS: Final = ("head.", "dist_head.")

#: Images that no classifier is for; a file may say anything.
LARGEST: Final = 4096


def read_classifier(path: str | os.PathLike[str], ema: bool = False) -> Weights:
    """Reads a classification file, with the names of `ImageClassifier`.

    Raises:
        UserError: the file cannot be read safely, or holds no classifier.
    """
    weights = read_weights(path, ema)
    if weights.kind != "classification" or not heads_in(weights):
        raise UserError(
            f"weight file {weights.path} holds no classifier ({weights.format}); "
            "give an ImageNet classification file"
        )
    names = {name: re.sub(r"^norm\.", "backbone.norm6.", name) for name in weights.state}
    return replace(weights, state=renamed(weights.state, names, weights.path))


def size_for(weights: Weights) -> int:
    """Side of the images, in pixels, that a classifier was trained for; 224 where none is said."""
    return size_said(weights) or 224


def size_said(weights: Weights) -> int | None:
    """The size that a classification file names: the official one or ours.

    Raises:
        UserError: there are no such images.
    """
    size = weights.image_size or kept_size(weights.meta)
    if size is not None and not 0 < size <= LARGEST:
        raise UserError(f"weight file {weights.path} is for images of {size} pixels")
    return size


def kept_size(meta: Mapping[str, Any]) -> int | None:
    """The size at which our own training evaluated, by the config that it keeps."""
    try:
        steps = meta["model"]["config"]["test_dataloader"]["dataset"]["pipeline"]
        return next(int(step["size"]) for step in steps if step["type"] == "EvaluationCrop")
    except (KeyError, TypeError, ValueError, StopIteration):
        return None


def heads_in(weights: Weights) -> int:
    """How many heads a file has."""
    return sum(f"{head}weight" in weights.state for head in HEADS)
