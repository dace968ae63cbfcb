"""Folding: a BatchNorm with fixed statistics is an affine map of channels, part of a convolution.

Written on weight tensors, so that it serves both forms: for inference it runs once; in training it
runs each step and gradients flow through it to the original weights. The blocks are written once
for both too, without their norms.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from casvit_dense.casvit import AdditiveBlock, ChannelGate, SpatialGate

#: ``run(f, *tensors)`` is ``f(*tensors)``; training may record how to recompute it.
Run = Callable[..., Tensor]


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
        """A frozen module with copies of the weights."""
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
    """An unchanged convolution.

    Raises:
        ValueError: it is not a convolution, is dilated, or pads with anything but zeros.
    """
    if not isinstance(conv, nn.Conv2d) or isinstance(conv.padding, str):
        raise ValueError(f"cannot be folded: {conv}")
    if conv.padding_mode != "zeros" or conv.dilation != (1, 1):
        raise ValueError(f"cannot be folded: {conv}")
    return ConvWeights(conv.weight, conv.bias, conv.stride, conv.padding, conv.groups)


def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift ``(C,)`` that a BatchNorm applies in eval mode.

    Raises:
        ValueError: it is not a BatchNorm, or has no statistics or no scale.
    """
    if not isinstance(norm, _BatchNorm):
        raise ValueError(f"is not a BatchNorm: {norm}")
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
        ValueError: the convolution is grouped or pads (the zeros come after the norm, whose shift
            they would have to include).
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
    """One convolution as several that each compute a part of the output channels."""
    weights = conv.weight.chunk(parts)
    biases = [None] * parts if conv.bias is None else conv.bias.chunk(parts)
    return [conv._replace(weight=w, bias=b) for w, b in zip(weights, biases, strict=True)]


def call(function: Run, *inputs: Tensor) -> Tensor:
    """Runs a function of tensors; nothing is recorded for recomputing."""
    return function(*inputs)


def fold_block(block: AdditiveBlock) -> dict[str, ConvWeights]:
    """The convolutions of a block, every BatchNorm folded into its neighbour.

    Queries, keys and values are three convolutions instead of one that is split: parts of a split
    are not dense channels-last maps, and every runtime copies them.
    """
    local, mixer = block.local_perception.network, block.attn
    query, key, value = split(fold_before(block.norm1, mixer.qkv), 3)
    return {
        "local_in": fold_after(local[0], local[1]),
        "local_near": plain(local[2]),
        "local_out": plain(local[4]),
        "query": query,
        "key": key,
        "value": value,
        **_fold_gates("query", *mixer.oper_q),
        **_fold_gates("key", *mixer.oper_k),
        "mix": plain(mixer.dwc),
        "proj": plain(mixer.proj),
        "expand": fold_before(block.norm2, block.mlp.fc1),
        "reduce": plain(block.mlp.fc2),
    }


def _fold_gates(of: str, spatial: SpatialGate, channel: ChannelGate) -> dict[str, ConvWeights]:
    return {
        f"{of}_near": fold_after(spatial.block[0], spatial.block[1]),
        f"{of}_pixel": plain(spatial.block[3]),
        f"{of}_channel": plain(channel.block[1]),
    }


def run_block(
    x: Tensor,
    convs: Mapping[str, Any],
    drop_path: Callable[[Tensor], Tensor],
    run: Run,
) -> Tensor:
    """A block, maps ``(N, C, H, W)`` to maps of the same shape.

    Args:
        x: input maps.
        convs: what `fold_block` returns, or modules under the same names.
        drop_path: stochastic depth around mixer and MLP.
        run: runs the cheap functions, whose results could be recomputed.
    """
    near = convs["local_near"](convs["local_in"](x))
    # No convolution needs its own output in backward, so sums can overwrite it.
    x = convs["local_out"](run(F.gelu, near)).add_(x)
    x = drop_path(_mix(x, convs, run)).add_(x)
    return drop_path(convs["reduce"](run(F.gelu, convs["expand"](x)))).add_(x)


def _mix(x: Tensor, convs: Mapping[str, Any], run: Run) -> Tensor:
    query = _gate(convs["query"](x), "query", convs, run)
    key = _gate(convs["key"](x), "key", convs, run)
    similarity = convs["mix"](run(_weighted_sum, *query, *key))
    return convs["proj"](run(torch.mul, similarity, convs["value"](x)))


def _gate(x: Tensor, of: str, convs: Mapping[str, Any], run: Run) -> tuple[Tensor, Tensor]:
    """Maps weighted by pixel, and the weights of their channels ``(N, C, 1, 1)``."""
    pixel = convs[f"{of}_pixel"](convs[f"{of}_near"](x).relu_()).sigmoid()
    x = run(torch.mul, x, pixel)
    return x, convs[f"{of}_channel"](x.mean((2, 3), keepdim=True)).sigmoid()


def _weighted_sum(query: Tensor, by_query: Tensor, key: Tensor, by_key: Tensor) -> Tensor:
    return torch.addcmul(query * by_query, key, by_key)
