"""CAS-ViT as a four-stage feature backbone.

Paper: "CAS-ViT: Convolutional Additive Self-attention Vision Transformers for Efficient Mobile
Applications", https://arxiv.org/abs/2408.03703, section 3.
Reference code: https://github.com/Tianfang-Zhang/CAS-ViT, commit 041d2d6, MIT licence
(``detection/model/rcvit.py``). Written anew from the paper and the reference's tensor names.

Changes from the original: output norms and stages that no output needs are not built (the
original builds them and drops their maps). Tensor names, shapes and arithmetic are the official
ones, so official weights load without renaming.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

#: Blocks and channels of each stage. ``t`` is the largest variant (21.8 M with its classifier).
ARCHS: dict[str, dict[str, tuple[int, ...]]] = {
    "xs": {"depths": (2, 2, 4, 2), "dims": (48, 56, 112, 220)},
    "s": {"depths": (3, 3, 6, 3), "dims": (48, 64, 128, 256)},
    "m": {"depths": (3, 3, 6, 3), "dims": (64, 96, 192, 384)},
    "t": {"depths": (3, 3, 6, 3), "dims": (96, 128, 256, 512)},
}

NUM_STAGES = 4
MIN_SIZE = 32  # pixels: the stride of the last stage


def depthwise_conv(dim: int) -> nn.Conv2d:
    """3x3 convolution of every channel by itself, size kept."""
    return nn.Conv2d(dim, dim, 3, padding=1, groups=dim)


class DropPath(nn.Module):
    """Stochastic depth: in training, drops the whole residual branch of a sample."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0.0:
            return x
        keep = 1.0 - self.drop_prob
        return x * x.new_empty(len(x), 1, 1, 1).bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob:.3f}"


class LocalIntegration(nn.Module):
    """Convolutional branch that mixes each pixel with its neighbours (paper, section 3.3)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(dim, dim, 1),
            nn.BatchNorm2d(dim),
            depthwise_conv(dim),
            nn.GELU(),
            nn.Conv2d(dim, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


class SpatialGate(nn.Module):
    """Weighs every pixel by one number shared by all channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            depthwise_conv(dim),
            nn.BatchNorm2d(dim),
            nn.ReLU(inplace=True),
            nn.Conv2d(dim, 1, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.block(x)


class ChannelGate(nn.Module):
    """Weighs every channel by one number shared by all pixels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(dim, dim, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.block(x)


class AdditiveTokenMixer(nn.Module):
    """Convolutional additive self-attention (paper, section 3.2).

    Similarity is the sum of gated queries and keys, so the cost is linear in the number of pixels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.oper_q = nn.Sequential(SpatialGate(dim), ChannelGate(dim))
        self.oper_k = nn.Sequential(SpatialGate(dim), ChannelGate(dim))
        self.dwc = depthwise_conv(dim)
        self.proj = depthwise_conv(dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=1)
        return self.proj(self.dwc(self.oper_q(q) + self.oper_k(k)) * v)


class Mlp(nn.Module):
    """Two 1x1 convolutions around a GELU, hidden width four times the outer one."""

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, ratio * dim, 1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(ratio * dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class AdditiveBlock(nn.Module):
    """Local integration, token mixer and MLP, a residual around each."""

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.local_perception = LocalIntegration(dim)
        self.norm1 = nn.BatchNorm2d(dim)
        self.attn = AdditiveTokenMixer(dim)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.local_perception(x)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Stage(nn.Sequential):
    """Blocks of one resolution; optionally recomputes each block's activations in backward."""

    def __init__(self, blocks: Iterable[AdditiveBlock], with_cp: bool) -> None:
        super().__init__(*blocks)
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        for block in self:
            if self.with_cp and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x


class Downsample(nn.Module):
    """Strided convolution and norm between two stages: halves the size, changes the width."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_dim, out_dim, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))


class Stem(nn.Sequential):
    """Two strided convolutions that reduce the image to a quarter of its size."""

    def __init__(self, dim: int) -> None:
        super().__init__(
            nn.Conv2d(3, dim // 2, 3, stride=2, padding=1),
            nn.BatchNorm2d(dim // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1),
            nn.BatchNorm2d(dim),
            nn.ReLU(inplace=True),
        )


@MODELS.register_module()
class CASViT(BaseModule):
    """CAS-ViT backbone: image to feature maps at strides 4, 8, 16 and 32.

    Args:
        arch: ``'xs' | 's' | 'm' | 't'`` (``t`` is the largest), or
            ``dict(depths=[...], dims=[...])`` with four numbers each.
        out_indices: stages to return, rising, out of 0..3. Output norms are built only for
            these, and no stage is built after the last of them, so that every parameter gets
            a gradient.
        drop_path_rate: probability of dropping the last block's branches; rises linearly from
            zero at the first block.
        norm_eval: keep every BatchNorm in eval mode while training (its scale and shift still
            learn). This is the official dense recipe.
        frozen_stages: -1 freezes nothing, 0 the stem, ``n`` the stem and the first ``n`` stages.
        with_cp: recompute block activations in the backward pass: less memory, same gradients.
            With ``norm_eval=False`` the running statistics are then updated twice a step.
        init_cfg: mmengine initialiser, e.g. ``dict(type='CASViTWeights', checkpoint=path)``.

    Attributes:
        out_channels: channels of each returned map.
        out_strides: stride of each returned map.

    Raises:
        TypeError: ``arch`` is neither a name nor a dict.
        ValueError: unknown ``arch``, or ``out_indices`` or ``frozen_stages`` out of range.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Sequence[int]] = "xs",
        out_indices: Sequence[int] = (0, 1, 2, 3),
        drop_path_rate: float = 0.0,
        norm_eval: bool = True,
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        depths, dims = resolve_arch(arch)
        self.out_indices = resolve_out_indices(out_indices)
        if not -1 <= frozen_stages <= NUM_STAGES:
            raise ValueError(f"frozen_stages is {frozen_stages}; expected -1 to {NUM_STAGES}")
        self.norm_eval = norm_eval
        self.frozen_stages = frozen_stages

        rates = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        self.patch_embed = Stem(dims[0])
        # Stages at even positions, downsampling between them, as in the official files.
        self.network = nn.ModuleList()
        for i in range(self.out_indices[-1] + 1):
            if i > 0:
                self.network.append(Downsample(dims[i - 1], dims[i]))
            blocks = [AdditiveBlock(dims[i], next(rates)) for _ in range(depths[i])]
            self.network.append(Stage(blocks, with_cp))
        for i in self.out_indices:
            self.add_module(f"norm{2 * i}", nn.BatchNorm2d(dims[i]))
        self.out_channels = tuple(dims[i] for i in self.out_indices)
        self.out_strides = tuple(4 * 2**i for i in self.out_indices)
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of the chosen stages.

        Args:
            x: images ``(N, 3, H, W)``, ``H`` and ``W`` at least 32.

        Returns:
            One map ``(N, C_i, ceil(H / s_i), ceil(W / s_i))`` for each of ``out_indices``, each
            through its own output norm.

        Raises:
            ValueError: an image side is below 32 pixels.
        """
        # A trace records shapes as tensors, on which no branch may depend.
        if not torch.jit.is_tracing() and min(x.shape[-2:]) < MIN_SIZE:
            size = f"{x.shape[-2]}x{x.shape[-1]}"
            raise ValueError(f"input is {size} pixels; both sides must be {MIN_SIZE} or more")
        x = self.patch_embed(x)
        outs = []
        for i, layer in enumerate(self.network):
            x = layer(x)
            if i % 2 == 0 and i // 2 in self.out_indices:
                outs.append(self.get_submodule(f"norm{i}")(x))
        return tuple(outs)

    def train(self, mode: bool = True) -> "CASViT":
        """Sets the mode, with BatchNorm kept in eval mode where ``norm_eval`` or freezing says."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):  # SyncBatchNorm too
                    module.eval()
        for part in self._frozen_parts():
            part.eval()
        return self

    def _frozen_parts(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        # Stage i stands at position 2i, behind the downsampling that belongs to it.
        stages = self.network[: max(0, 2 * self.frozen_stages - 1)]
        norms = (f"norm{2 * i}" for i in self.out_indices if i < self.frozen_stages)
        return [self.patch_embed, *stages, *map(self.get_submodule, norms)]

    def _freeze(self) -> None:
        for part in self._frozen_parts():
            part.requires_grad_(False)


def resolve_arch(arch: str | Mapping[str, Sequence[int]]) -> tuple[list[int], list[int]]:
    """Depths and dims of the four stages of a named or described variant."""
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(f"unknown arch {arch!r}; choose from {', '.join(ARCHS)}")
        arch = ARCHS[arch]
    if not isinstance(arch, Mapping):
        raise TypeError(
            f"arch is {arch!r}; expected one of {', '.join(ARCHS)}, or dict(depths=..., dims=...)"
        )
    if set(arch) != {"depths", "dims"} or any(len(v) != NUM_STAGES for v in arch.values()):
        raise ValueError(f"arch must hold {NUM_STAGES} depths and {NUM_STAGES} dims, got {arch}")
    return list(arch["depths"]), list(arch["dims"])


def resolve_out_indices(out_indices: Sequence[int]) -> tuple[int, ...]:
    """The indices as a tuple, after a check that they rise and exist."""
    indices = tuple(out_indices)
    legal = all(0 <= i < NUM_STAGES for i in indices)
    if not indices or not legal or list(indices) != sorted(set(indices)):
        raise ValueError(f"out_indices is {indices}; expected rising stages out of 0..3")
    return indices
