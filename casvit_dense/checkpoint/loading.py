"""Strict loading into a backbone or a whole dense model, and the initialiser configs use."""

import os
import re

from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from casvit_dense.casvit import CASViT
from casvit_dense.checkpoint.dialects import (
    BACKBONE,
    CLASSIFIER_PARTS,
    OUTPUT_NORM,
    Kind,
    Weights,
    read_weights,
)
from casvit_dense.checkpoint.matching import LoadReport, load_strictly
from casvit_dense.errors import UserError

UNREAD_NORMS = "output norms the backbone does not build"
LATER_STAGES = "stages after the last output"
STAGE = re.compile(r"backbone\.network\.([0-6])\.")


def load_pretrained(
    backbone: CASViT, path: str | os.PathLike[str], ema: bool = False
) -> LoadReport:
    """Loads a weight file of any known dialect into a backbone, strictly.

    Every tensor of the backbone must be in the file with its shape; only output norms may be
    absent, all together, and only from a classification file. Left over may be a classifier's
    head, the neck and heads of a dense file, and norms and stages the backbone does not build.

    Args:
        backbone: receives the weights.
        path: the weight file.
        ema: take the averaged weights of an official classification file.

    Returns:
        What was matched and what was left out, by which rule; also logged.

    Raises:
        UserError: the file cannot be read safely, is of no known dialect, or does not fit.
            Nothing is loaded then.
    """
    weights = read_weights(path, ema)
    return load_strictly(
        backbone,
        weights,
        leave_out=lambda name: other_part(weights.kind, name) or unbuilt_part(backbone, name),
        may_be_absent=lambda name: may_lack_norm(weights, name),
        prefix=BACKBONE,
    )


def load_model(model: nn.Module, path: str | os.PathLike[str], ema: bool = False) -> LoadReport:
    """Loads an official dense file or one of ours into a whole detector or segmenter, strictly.

    Left over may be only output norms that a CAS-ViT does not build (official RetinaNet files
    hold four, the neck reads three). A model of another backbone takes exactly its own tensors,
    by the names the file has.

    Args:
        model: the model, its backbone under ``backbone``.
        path: the weight file.
        ema: take the averaged weights.

    Raises:
        UserError: as ``load_pretrained``, or the file holds no dense model of a CAS-ViT.
    """
    if not isinstance(getattr(model, "backbone", None), CASViT):
        weights = read_weights(path, ema, casvit=False)
        return load_strictly(model, weights, leave_out=lambda name: None)
    weights = read_weights(path, ema)
    if weights.kind != "dense":
        raise UserError(
            f"weight file {weights.path} holds a {weights.kind} ({weights.dialect}), not a whole "
            "dense model; use it as pretrained backbone weights"
        )
    return load_strictly(
        model, weights, leave_out=lambda name: UNREAD_NORMS if OUTPUT_NORM.match(name) else None
    )


def other_part(kind: Kind, name: str) -> str | None:
    """The rule for tensors outside the backbone, by the kind of file."""
    part = name.split(".")[0]
    if kind == "classification" and part in CLASSIFIER_PARTS:
        return "classifier norm and heads"
    if kind == "dense" and (part == "neck" or part.endswith("_head")):
        return "neck and heads"
    return None


def unbuilt_part(backbone: CASViT, name: str) -> str | None:
    """The rule for backbone tensors that this backbone has no place for."""
    if OUTPUT_NORM.match(name):
        return UNREAD_NORMS
    stage = STAGE.match(name)
    return LATER_STAGES if stage and int(stage[1]) >= len(backbone.network) else None


def may_lack_norm(weights: Weights, name: str) -> bool:
    """Whether a file may lack this tensor: an output norm, where the file never had any."""
    return (
        weights.kind == "classification"
        and OUTPUT_NORM.match(name) is not None
        and not any(map(OUTPUT_NORM.match, weights.state))
    )


@WEIGHT_INITIALIZERS.register_module()
class CASViTWeights:
    """Initialiser of a CAS-ViT backbone: ``init_cfg=dict(type='CASViTWeights', checkpoint=path)``.

    Unlike mmengine's ``Pretrained`` it knows the dialects and raises where a file does not fit.

    Args:
        checkpoint: the weight file.
        ema: take the averaged weights.
    """

    def __init__(self, checkpoint: str, ema: bool = False) -> None:
        self.checkpoint = checkpoint
        self.ema = ema

    def __call__(self, module: CASViT) -> None:
        report = load_pretrained(module, self.checkpoint, self.ema)
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"CASViTWeights: {report.path}")
