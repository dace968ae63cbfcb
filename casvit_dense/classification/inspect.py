"""What a weight file is, and which order of channels it was trained on."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from casvit_dense.casvit import ARCHS
from casvit_dense.checkpoint.formats import (
    EMA_WRAPPER,
    Weights,
    arch_of,
    describe_arch,
    read_weights,
)
from casvit_dense.checkpoint.loading import compare
from casvit_dense.checkpoint.reader import read_checkpoint
from casvit_dense.classification.classify import scores_of
from casvit_dense.classification.files import HEADS, heads_in, read_classifier, size_for, size_said
from casvit_dense.classification.model import CASViTClassifier
from casvit_dense.errors import UserError

#: Below this difference of mean probabilities, images do not tell the orders apart.
CLEAR = 0.02


@dataclass(frozen=True)
class Order:
    """How sure a classifier is with one order of channels.

    Attributes:
        name: ``'RGB'`` or ``'BGR'``.
        sureness: mean probability of the likeliest class.
        top1: percent of the images whose class is the likeliest; None without labels.
    """

    name: str
    sureness: float
    top1: float | None


def inspect_file(path: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """The facts about a weight file, as label and text.

    Raises:
        UserError: it cannot be read safely, or holds no weights.
    """
    content = read_checkpoint(path)
    averaged = isinstance(content.get(EMA_WRAPPER), dict)
    alone = averaged and not any(isinstance(content.get(k), dict) for k in ("model", "state_dict"))
    weights = read_weights(path, ema=alone)
    kinds = Counter(str(t.dtype).removeprefix("torch.") for t in weights.state.values())
    broken = [n for n, t in weights.state.items() if not torch.isfinite(t).all()]
    ema = "no" if not averaged else "alone: --ema takes them" if alone else "yes: --ema takes them"
    lines = [
        ("file", f"{weights.path}, {Path(weights.path).stat().st_size / 1e6:.1f} MB"),
        ("sha256", weights.sha256),
        ("format", weights.format),
        ("variant", describe_arch(weights.state)),
        ("heads", describe_heads(weights)),
        *([("images", f"{size} x {size} pixels")] if (size := size_said(weights)) else []),
        ("averaged", ema),
        ("numbers", ", ".join(f"{count} tensors of {kind}" for kind, count in kinds.items())),
        ("finite", f"no: {', '.join(broken[:4])}" if broken else "all"),
    ]
    return [*lines, *([("besides", ", ".join(weights.extras))] if weights.extras else [])]


def describe_heads(weights: Weights) -> str:
    """The heads of a classifier with their classes, or which parts a dense model has."""
    if weights.kind == "classification":
        found = [
            f"{head.rstrip('.')} ({len(weights.state[f'{head}weight'])} classes)"
            for head in HEADS
            if f"{head}weight" in weights.state
        ]
        return ", ".join(found) or "none: a classifier without its heads"
    parts = {name.split(".")[0] for name in weights.state} - {"backbone"}
    return ", ".join(sorted(parts)) or "none: a backbone alone"


def compare_orders(
    path: str | os.PathLike[str],
    images: Sequence[Path],
    labels: Sequence[int] | None = None,
    size: int | None = None,
    ema: bool = False,
    log: Callable[[str], None] = print,
) -> list[Order]:
    """Classifies images in RGB and in BGR, the surer order first.

    The means are RGB's both times, as in the first official release, whose data sets read images
    by OpenCV.

    Args:
        path: classification file.
        images: image files.
        labels: the class of each.
        size: of the images, in pixels; None: as the file says.
        ema: take the averaged weights.
        log: called with a line of progress every few seconds.

    Raises:
        UserError: no classifier, or an image cannot be read.
    """
    weights = read_classifier(path, ema)
    model = classifier_of(weights)
    orders = []
    for name in ("RGB", "BGR"):
        scores = list(scores_of(model, images, size or size_for(weights), name == "BGR", log))
        sureness = mean(float(one.max()) for one in scores)
        right = [int(s.argmax()) == label for s, label in zip(scores, labels or (), strict=False)]
        orders.append(Order(name, sureness, 100 * mean(right) if labels else None))
    return sorted(orders, key=lambda order: (order.top1 or 0, order.sureness), reverse=True)


def classifier_of(weights: Weights) -> CASViTClassifier:
    """The classifier that a file was saved from, in eval mode.

    Raises:
        UserError: its stages are not complete.
    """
    arch = arch_of(weights.state)
    if len(arch["depths"]) < len(ARCHS["xs"]["depths"]):
        raise UserError(f"weight file {weights.path} holds no complete CAS-ViT: {arch}")
    head = next(weights.state[f"{h}weight"] for h in HEADS if f"{h}weight" in weights.state)
    model = CASViTClassifier(arch, len(head), heads=heads_in(weights))
    compare(model.state_dict(), weights, leave_out=lambda name: None)
    model.load_state_dict(weights.state)
    return model.eval()


def conclusion(orders: Sequence[Order]) -> str:
    """What the comparison of both orders means, in a sentence."""
    first, second = orders
    if first.top1 is not None and second.top1 is not None and first.top1 != second.top1:
        return f"trained on {first.name}: more images are classified rightly"
    if first.sureness - second.sureness < CLEAR:
        return "the images do not tell the orders apart; give more of them"
    return f"{first.name} seems to be the order that it was trained on: it is surer"
