"""The arithmetic of folding: a BatchNorm with fixed statistics is an affine map of each channel.

Written on weight tensors, so that it serves both forms: for inference it runs once; in training it
runs each step and gradients flow through it to the original weights.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class ConvWeights(NamedTuple):
    """A convolution as its weight, its bias and its geometry; callable like the module."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    groups: int

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)

    def as_module(self) -> nn.Conv2d:
        """A module of its own with copies of the weights, frozen."""
        out_channels, width, *kernel = self.weight.shape
        conv = nn.Conv2d(
            width * self.groups,
            out_channels,
            (kernel[0], kernel[1]),
            self.stride,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            groups=self.groups,
            bias=self.bias is not None,
            device="meta",
        )
        weights = {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})
        copies = {name: tensor.detach().clone() for name, tensor in weights.items()}
        conv.load_state_dict(copies, assign=True)
        return conv.requires_grad_(False)


def plain(conv: nn.Module) -> ConvWeights:
    """A convolution as it is.

    Raises:
        ValueError: it is none, or is dilated, or pads with something else than zeros.
    """
    if not isinstance(conv, nn.Conv2d) or isinstance(conv.padding, str):
        raise ValueError(f"cannot be folded: {conv}")
    if conv.padding_mode != "zeros" or conv.dilation != (1, 1):
        raise ValueError(f"cannot be folded: {conv}")
    return ConvWeights(conv.weight, conv.bias, conv.stride, conv.padding, conv.groups)


def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift ``(C,)`` that a BatchNorm applies in eval mode.

    Raises:
        ValueError: it is none, keeps no statistics or learns no scale.
    """
    if not isinstance(norm, _BatchNorm):
        raise ValueError(f"is no BatchNorm: {norm}")
    if norm.running_mean is None or norm.running_var is None or not norm.affine:
        raise ValueError(f"has no fixed statistics or no scale: {norm}")
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def fold_after(conv: nn.Module, norm: nn.Module) -> ConvWeights:
    """``norm(conv(x))`` as one convolution, of any kernel."""
    scale, shift = affine(norm)
    bare = plain(conv)
    bias = shift if bare.bias is None else bare.bias * scale + shift
    return bare._replace(weight=bare.weight * scale[:, None, None, None], bias=bias)


def fold_before(norm: nn.Module, conv: nn.Module) -> ConvWeights:
    """``conv(norm(x))`` as one convolution.

    Raises:
        ValueError: the convolution pads (a border of zeros is no longer zero behind the norm's
            shift) or is grouped.
    """
    bare = plain(conv)
    if any(bare.padding) or bare.groups != 1:
        raise ValueError(f"a norm before it cannot be folded in: {conv}")
    scale, shift = affine(norm)
    # Not a matrix product: autocast would compute that one in half precision.
    shifted = (bare.weight.sum((2, 3)) * shift).sum(1)
    bias = shifted if bare.bias is None else bare.bias + shifted
    return bare._replace(weight=bare.weight * scale[None, :, None, None], bias=bias)


def split(conv: ConvWeights, parts: int) -> list[ConvWeights]:
    """One convolution as several that each make a part of the output channels."""
    weights = conv.weight.chunk(parts)
    biases = [None] * parts if conv.bias is None else conv.bias.chunk(parts)
    return [conv._replace(weight=w, bias=b) for w, b in zip(weights, biases, strict=True)]
