"""timm's networks in the inference form: branches merged, norms folded, the same maps."""

import pytest
import torch
from timm_models import timm_or_skip
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from casvit_dense.benchmark.networks import randomise_norms
from casvit_dense.deploy import fuse


class Backbone(nn.Module):
    """As in a config: the network of timm is part of a module that is not."""

    def __init__(self, name: str, **options: object) -> None:
        super().__init__()
        self.model = timm_or_skip().create_model(name, features_only=True, **options)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return self.model(x)


def slow(*values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("mobilenetv4_conv_small_035", 0),
        ("repvit_m0_9", 0),
        slow("mobilenetv4_hybrid_medium", 8),  # before its attention
        slow("fastvit_sa12", 2),  # before its attention
        slow("swiftformer_xs", 4),  # before its layers of 1x1
        slow("efficientformerv2_s0", 0),
        slow("edgenext_xx_small", 0),
        slow("poolformer_s12", 0),
        slow("iformer_t", 0),
    ],
)
def test_the_fused_form_gives_the_same_maps(name: str, left: int) -> None:
    backbone = Backbone(name, **{"img_size": 64} if "efficientformer" in name else {}).eval()
    randomise_norms(backbone)
    fused = fuse(backbone)
    assert sum(isinstance(part, _BatchNorm) for part in fused.modules()) == left
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for found in (fused(images), fuse(fused)(images)):
            for ours, theirs in zip(found, backbone(images), strict=True):
                assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
