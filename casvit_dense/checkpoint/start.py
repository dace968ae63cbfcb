"""The weights of a whole model as the start of a training on other classes."""

import os
from collections.abc import Collection
from dataclasses import replace

from mmengine.logging import print_log
from torch import nn

from casvit_dense.casvit import CASViT
from casvit_dense.checkpoint.formats import OUTPUT_NORM, read_weights
from casvit_dense.checkpoint.loading import UNREAD_NORMS, LoadReport, compare
from casvit_dense.errors import UserError

CLASS_LAYERS = "class layers, which begin anew"


def load_start(
    model: nn.Module, path: str | os.PathLike[str], class_layers: Collection[str]
) -> LoadReport:
    """Loads everything but the layers of classes, strictly.

    Args:
        model: the model, its backbone under ``backbone``.
        path: file of a whole model of the same architecture, with any classes.
        class_layers: names of the tensors that depend on the classes; they keep their values.

    Raises:
        UserError: the file cannot be read safely, holds no whole model, or something else in it
            does not fit. Nothing is loaded then.
    """
    casvit = isinstance(getattr(model, "backbone", None), CASViT)
    weights = read_weights(path, casvit=casvit)
    if casvit and weights.kind != "dense":
        raise UserError(
            f"--init {weights.path}: holds a {weights.kind} ({weights.format}), not a whole model; "
            "give it by --pretrained"
        )

    def leave_out(name: str) -> str | None:
        if name in class_layers:
            return CLASS_LAYERS
        return UNREAD_NORMS if OUTPUT_NORM.match(name) else None

    own = model.state_dict()
    shared = {name: tensor for name, tensor in own.items() if name not in class_layers}
    report = compare(shared, weights, leave_out)
    model.load_state_dict({**own, **{name: weights.state[name] for name in shared}})
    report = replace(report, initialised=tuple(sorted(class_layers)))
    print_log(str(report), logger="current")
    return report
