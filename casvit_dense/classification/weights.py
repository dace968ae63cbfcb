"""Published classifiers by name, and their weight files."""

import difflib
import logging
import os
import re
from dataclasses import replace
from typing import Final

from casvit_dense.casvit import ARCHS
from casvit_dense.checkpoint.formats import Weights
from casvit_dense.checkpoint.loading import LoadReport, load_strictly
from casvit_dense.classification.files import HEADS, heads_in, read_classifier, size_for
from casvit_dense.classification.model import CASViTClassifier, ImageClassifier
from casvit_dense.errors import UserError
from casvit_dense.zoo import VARIANTS

#: The mmpretrain port's words for the variants.
PORT_WORDS: Final = {"xs": "xsmall", "s": "small", "m": "middle", "t": "tiny"}


def list_models() -> list[str]:
    """Names of the published classifiers, the smallest first; `variant_of` knows more of them."""
    return [f"casvit-{arch}" for arch in VARIANTS]


def variant_of(name: str) -> str:
    """The variant that a name means.

    Args:
        name: ``casvit-xs``, ``casvit_xs``, ``xs``, the port's ``casvit-xsmall_8xb256_in1k`` or
            ``casvit-xsmall``, the official ``rcvit_xs``, or a config's stem.

    Raises:
        UserError: the name means none; the nearest is named.
    """
    words = {**{arch: arch for arch in VARIANTS}, **{word: a for a, word in PORT_WORDS.items()}}
    plain = re.sub(r"[_-]\d+xb.*$", "", name.lower())
    found = re.fullmatch(r"(?:(?:cas|rc)-?vit[-_])?([a-z]+)", plain)
    if found and found[1] in words:
        return words[found[1]]
    known = [*list_models(), *(f"casvit-{word}_8xb256_in1k" for word in PORT_WORDS.values())]
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"unknown model {name!r}; {hint}choose from {', '.join(list_models())}")


def get_model(
    name: str,
    pretrained: str | os.PathLike[str] | None = None,
    num_classes: int = 1000,
    ema: bool = False,
    drop_path_rate: float = 0.0,
    image_size: int | None = None,
) -> CASViTClassifier:
    """A published classifier by name; call ``eval()`` on it before use.

    Args:
        name: see `list_models` and `variant_of`.
        pretrained: classification file of any known format, loaded strictly; the model gets as
            many heads as it has. Heads of another number of classes stay as initialised, which is
            said.
        num_classes: outputs of each head.
        ema: take the file's averaged weights.
        drop_path_rate: stochastic depth, as for ``CASViT``.
        image_size: side of the squares that ``transform`` cuts, in pixels; None: as the file says,
            224 where none does.

    Raises:
        UserError: unknown name, or a file that cannot be read safely or does not fit.
    """
    arch = variant_of(name)
    model = CASViTClassifier(ARCHS[arch], num_classes, drop_path_rate)
    if pretrained is not None:
        load_classifier(model, pretrained, ema)
    model.image_size = image_size or model.image_size
    return model


def load_classifier(
    model: ImageClassifier, path: str | os.PathLike[str], ema: bool = False
) -> Weights:
    """Loads a CAS-ViT's file as `get_model` does, and returns what was read.

    Raises:
        UserError: it cannot be read safely, holds no classifier or does not fit.
    """
    weights = read_classifier(path, ema)
    model.set_heads(heads_in(weights))
    load_heads(model, weights)
    model.image_size = size_for(weights)
    return weights


def load_heads(model: ImageClassifier, weights: Weights) -> LoadReport:
    """Loads a classifier, without its heads where they are for another number of classes."""
    head = weights.state.get("head.weight")
    classes = model.num_classes if head is None else len(head)
    if classes == model.num_classes:
        return load_strictly(model, weights, leave_out=lambda name: None)
    logging.getLogger("casvit_dense").warning(
        f"{weights.path} knows {classes} classes, the model {model.num_classes}: all was loaded "
        "but the heads, which begin at random"
    )
    return load_strictly(
        model,
        replace(weights, state={n: t for n, t in weights.state.items() if not n.startswith(HEADS)}),
        leave_out=lambda name: None,
        may_be_absent=lambda name: name.startswith(HEADS),
    )
