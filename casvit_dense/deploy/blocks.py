"""CAS-ViT's blocks without their norms: one text for the inference and the training form.

Convolutions come in a mapping by name. For inference it holds modules, made once; in training it
holds weights that are folded anew each step. Queries, keys and values are three convolutions, not
one that is split: parts of a split are no dense channels-last maps, and every runtime copies them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from casvit_dense.casvit import AdditiveBlock, ChannelGate, SpatialGate
from casvit_dense.deploy.folding import ConvWeights, fold_after, fold_before, plain, split

#: ``run(f, *tensors)`` is ``f(*tensors)``; training may keep in mind how to compute it again.
Run = Callable[..., Tensor]


def call(function: Run, *inputs: Tensor) -> Tensor:
    """Runs a function of tensors and notes nothing."""
    return function(*inputs)


def fold_block(block: AdditiveBlock) -> dict[str, ConvWeights]:
    """The convolutions of a block, every BatchNorm folded into its neighbour."""
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
        run: runs the cheap functions whose results could be computed again.
    """
    near = convs["local_near"](convs["local_in"](x))
    # No convolution needs its own result in backward: the sums can take its place.
    x = convs["local_out"](run(F.gelu, near)).add_(x)
    x = drop_path(_mix(x, convs, run)).add_(x)
    return drop_path(convs["reduce"](run(F.gelu, convs["expand"](x)))).add_(x)


def _mix(x: Tensor, convs: Mapping[str, Any], run: Run) -> Tensor:
    query = _gate(convs["query"](x), "query", convs, run)
    key = _gate(convs["key"](x), "key", convs, run)
    similarity = convs["mix"](run(_weighted_sum, *query, *key))
    return convs["proj"](run(torch.mul, similarity, convs["value"](x)))


def _gate(x: Tensor, of: str, convs: Mapping[str, Any], run: Run) -> tuple[Tensor, Tensor]:
    """Maps weighed by pixel, and the weights of their channels ``(N, C, 1, 1)``."""
    pixel = convs[f"{of}_pixel"](convs[f"{of}_near"](x).relu_()).sigmoid()
    x = run(torch.mul, x, pixel)
    return x, convs[f"{of}_channel"](x.mean((2, 3), keepdim=True)).sigmoid()


def _weighted_sum(query: Tensor, by_query: Tensor, key: Tensor, by_key: Tensor) -> Tensor:
    return torch.addcmul(query * by_query, key, by_key)
