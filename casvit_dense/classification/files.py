"""Classification files of any known format, with the names of our classifiers."""

import os
import re
from dataclasses import replace
from typing import Final

from casvit_dense.checkpoint.formats import Weights, read_weights, renamed
from casvit_dense.errors import UserError

#: How the names of each head begin.
HEADS: Final = ("head.", "dist_head.")


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


def heads_in(weights: Weights) -> int:
    """How many heads a file has."""
    return sum(f"{head}weight" in weights.state for head in HEADS)
