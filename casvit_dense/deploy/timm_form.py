"""What `fuse` knows of timm's networks: their own inference form, and which norms follow what.

Imports timm only where a network of it is given.
"""

from itertools import pairwise
from typing import Final

from torch import nn

_CONV_BN = (("conv", "bn"),)
_DEPTHWISE = (("dwconv", "norm"),)
#: Convolution and the norm directly behind it, by the class that holds both.
PAIRS: Final = {
    "ConvNorm": _CONV_BN,
    "ConvNormAct": _CONV_BN,
    "ConvBnAct": (("conv", "bn1"),),
    "EdgeResidual": (("conv_exp", "bn1"), ("conv_pwl", "bn2")),
    "MobileNetV3Features": (("conv_stem", "bn1"),),
    "ConvEncoder": _DEPTHWISE,
    "LocalRepresentation": _DEPTHWISE,
    "Embedding": (("proj", "norm"),),
}


def is_timm(module: nn.Module) -> bool:
    """Whether a module is of a class of timm."""
    return type(module).__module__.partition(".")[0] == "timm"


def reparameterized(module: nn.Module) -> nn.Module:
    """Merges parallel branches of timm's networks inside ``module``, in place, by timm's own code.

    RepViT, FastViT and others train branches that are one convolution afterwards. A second time
    changes nothing.
    """
    if not is_timm(module):
        for name, child in list(module.named_children()):
            setattr(module, name, reparameterized(child))
    elif not getattr(module, "_branches_merged", False):
        from timm.utils.model import reparameterize_model

        module = reparameterize_model(module, inplace=True)
        module._branches_merged = True  # type: ignore[assignment]  # timm's code fails on its own results
    return module


def neighbours(parent: nn.Module) -> list[tuple[str, str]]:
    """Pairs of children's names, the second of which takes the output of the first."""
    names = [name for name, _ in parent.named_children()]
    kind = type(parent).__name__
    if kind == "FeatureListNet":  # calls one after the other and returns the maps of some
        return [pair for pair in pairwise(names) if pair[0] not in parent.return_layers]  # type: ignore[operator]
    return [pair for pair in PAIRS.get(kind, ()) if set(pair) <= set(names)]


def activation_of(norm: nn.Module) -> nn.Module | None:
    """What is left of timm's BatchNorm with activation once its norm is folded; else None."""
    if is_timm(norm) and type(norm).__name__ == "BatchNormAct2d":
        return nn.Sequential(norm.get_submodule("drop"), norm.get_submodule("act"))
    return None
