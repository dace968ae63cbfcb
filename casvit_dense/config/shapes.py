"""A config's model without memory for its tensors, of which names and shapes are asked alone."""

from copy import deepcopy
from importlib import import_module
from typing import Any

import torch
from mmengine.config import Config
from torch import nn
from torch.overrides import TorchFunctionMode

from casvit_dense.config.read import register_scope


class _RealNumbers(TorchFunctionMode):
    """Leaves `torch.linspace` on the CPU: networks take the rates of their layers out of it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        device = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **{**device, **(kwargs or {})})


def shape_model(cfg: Config) -> nn.Module:
    """The model of a config on torch's meta device."""
    models = import_module(f"{register_scope(cfg)}.registry").MODELS
    with torch.device("meta"), _RealNumbers():
        model: nn.Module = models.build(deepcopy(cfg.model))
    return model
