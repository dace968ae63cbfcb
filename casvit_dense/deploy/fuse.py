"""The inference form: the same outputs with norms folded into convolutions, and compilation."""

import re
from collections.abc import Callable
from copy import deepcopy
from functools import wraps
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from casvit_dense.casvit import AdditiveBlock, CASViT, Downsample
from casvit_dense.deploy import timm_form
from casvit_dense.deploy.folding import call, fold_after, fold_before, fold_block, run_block

#: Plain BatchNorms; a subclass may apply an activation, too.
PLAIN_FORWARDS = (_BatchNorm.forward, nn.SyncBatchNorm.forward)
NUMBERED_CONV = re.compile(r"conv\d+")


def fuse(module: nn.Module) -> nn.Module:
    """The inference form of a backbone or of a whole mmdet or mmseg model.

    Every BatchNorm inside CAS-ViT's stages is folded: those behind a convolution and those before a
    1x1 one. In a model with an FPN, the output norms go into the lateral convolutions. Elsewhere,
    and in other backbones, each BatchNorm directly behind a convolution is folded; networks of timm
    take their own inference form first. Weights become channels-last, which makes convolutions
    return channels-last maps.

    Args:
        module: backbone or model; not changed.

    Returns:
        A new module in eval mode without gradients, outputs equal to those of ``module.eval()``
        within 1e-5 of their largest value in float32. Fusing it again changes nothing. A backbone
        alone returns channels-last maps: code that reads their memory must respect the strides.

    Raises:
        TypeError: it is not a module, but for instance the name of a variant.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"fuse takes a built backbone or model (torch.nn.Module), not {module!r}; "
            "for example fuse(CASViT('xs'))"
        )
    fused = deepcopy(module)
    fused.eval()  # mmdet's ResNet returns nothing here
    fused = timm_form.reparameterized(fused).requires_grad_(False)
    for part in list(fused.modules()):
        if isinstance(part, CASViT):
            fuse_casvit(part)
    fold_output_norms(fused)
    fold_conv_norms(fused)
    to_channels_last(fused)
    return fused


def to_channels_last(model: nn.Module) -> None:
    """Makes weights channels-last, in place, except those of mmcv's operators such as RoIAlign.

    These ignore strides, so their weights and inputs are made contiguous: without this, Mask R-CNN
    detects nothing.
    """
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for part in model.modules():
        if type(part).__module__.startswith("mmcv.ops"):
            for weight in part.parameters(recurse=False):
                weight.data = weight.contiguous()
            part.register_forward_pre_hook(_contiguous_inputs)


def _contiguous_inputs(_: nn.Module, inputs: tuple) -> tuple:
    return tuple(x.contiguous() if isinstance(x, Tensor) else x for x in inputs)


def compiled(forward: Callable[..., Any], fused: bool, cuda_graphs: bool = False) -> Any:
    """Compiles a network, or a function, for inputs of one shape, by ``torch.compile``.

    Args:
        forward: a module or its ``forward``.
        fused: it is a fused form, whose weights do not change: Inductor freezes them, so they are
            converted once, at compile time, to the layout that the CPU's convolutions read.
        cuda_graphs: record the kernels of a GPU and replay them.

    Returns:
        What to call instead, without gradients.
    """
    graphs: dict[str, str | int | bool | Callable[..., Any]] = {"triton.cudagraphs": cuda_graphs}
    run = torch.compile(forward, dynamic=False, options=graphs)
    if not fused:
        return run

    @wraps(run)
    def frozen(*inputs: Any, **options: Any) -> Any:
        # Inductor reads it while tracing, so it cannot be an option of torch.compile.
        with torch._inductor.config.patch(freezing=True):
            return run(*inputs, **options)

    return frozen


class FusedBlock(nn.Module):
    """A block of CAS-ViT whose norms are folded into its convolutions."""

    def __init__(self, block: AdditiveBlock) -> None:
        super().__init__()
        folded = fold_block(block)
        self.convs = nn.ModuleDict({name: conv.as_module() for name, conv in folded.items()})

    def forward(self, x: Tensor) -> Tensor:
        return run_block(x, self.convs, _identity, call)  # type: ignore[arg-type]


def fuse_casvit(backbone: CASViT) -> None:
    """Folds all norms but the output norms of a backbone in eval mode, in place."""
    for i, layer in enumerate(backbone.network):
        if isinstance(layer, Downsample):
            backbone.network[i] = fold_after(layer.proj, layer.norm).as_module()
        elif isinstance(layer, nn.Sequential):
            for j, block in enumerate(layer):
                if isinstance(block, AdditiveBlock):
                    layer[j] = FusedBlock(block)


def fold_output_norms(model: nn.Module) -> None:
    """Folds CAS-ViT's output norms into the lateral 1x1 convolutions of an FPN, in place.

    A norm stays if its map is also used elsewhere: extra levels that start from the last input are
    padded 3x3 convolutions, and their padding of zeros comes after the norm.
    """
    backbone: Any = getattr(model, "backbone", None)
    neck: Any = getattr(model, "neck", None)
    if not isinstance(backbone, CASViT) or type(neck).__name__ != "FPN":
        return
    for place, lateral in enumerate(neck.lateral_convs, neck.start_level):
        is_last = place == len(backbone.out_indices) - 1
        if is_last and neck.add_extra_convs == "on_input":
            continue
        name = f"norm{2 * backbone.out_indices[place]}"
        norm = backbone.get_submodule(name)
        if isinstance(norm, _BatchNorm):
            lateral.conv = fold_before(norm, lateral.conv).as_module()
            backbone.add_module(name, nn.Identity())


def fold_conv_norms(module: nn.Module) -> None:
    """Folds every BatchNorm that directly follows a convolution, in place.

    Such pairs are neighbours in a Sequential, parts of mmcv's ConvModule, or ``conv1`` and ``bn1``
    and so on in mmdet's and mmseg's networks. Elsewhere names do not determine the order.
    """
    for parent in list(module.modules()):
        for conv_name, norm_name in _neighbours(parent):
            conv, norm = parent.get_submodule(conv_name), parent.get_submodule(norm_name)
            if type(conv) is not nn.Conv2d or not isinstance(norm, _BatchNorm):
                continue
            rest = _after_folding(norm)
            if rest is None:
                continue
            if norm.running_mean is not None and conv.out_channels == norm.num_features:
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm).requires_grad_(False))
                setattr(parent, norm_name, rest)


def _after_folding(norm: nn.Module) -> nn.Module | None:
    """What takes the place of a norm; None where it does more than is known."""
    plain = type(norm).forward in PLAIN_FORWARDS
    return nn.Identity() if plain else timm_form.activation_of(norm)


def _neighbours(parent: nn.Module) -> list[tuple[str, str]]:
    """Pairs of children's names, the second of which takes the output of the first."""
    names = [name for name, _ in parent.named_children()]
    if type(parent).forward is nn.Sequential.forward:
        return list(pairwise(names))
    if timm_form.is_timm(parent):
        return timm_form.neighbours(parent)
    package = type(parent).__module__.partition(".")[0]
    if package == "mmcv" and tuple(getattr(parent, "order", ()))[:2] == ("conv", "norm"):
        return [("conv", "bn")] if {"conv", "bn"} <= set(names) else []
    if package in ("mmdet", "mmseg"):
        pairs = [(n, n.replace("conv", "bn")) for n in names if NUMBERED_CONV.fullmatch(n)]
        return [pair for pair in pairs if pair[1] in names]
    return []


def _identity(x: Tensor) -> Tensor:
    return x
