"""The inference form: equal outputs, no norm left, the original untouched."""

import copy
import shutil
from importlib import import_module

import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from casvit_dense import CASViT, fuse
from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.deploy import compiled
from casvit_dense.deploy.folding import fold_after, fold_before
from casvit_dense.options import RunOptions

TINY = {"depths": [1, 2, 1, 1], "dims": [16, 24, 32, 40]}


def with_statistics(module: nn.Module) -> nn.Module:
    """Norms that do something: as after a training."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.2)
    module.eval()
    return module


def norms(module: nn.Module) -> list[str]:
    return [name for name, part in module.named_modules() if isinstance(part, _BatchNorm)]


def assert_close(found, expected, tolerance=1e-5):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * b.abs().max()


def test_norm_behind_a_convolution_by_hand():
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0)
    values = {"weight": 3.0, "bias": 1.0}
    for module, numbers in ((conv, values), (norm, {"weight": 2.0, "bias": 5.0})):
        for name, value in numbers.items():
            nn.init.constant_(getattr(module, name), value)
    norm.running_mean.fill_(4.0)
    norm.running_var.fill_(16.0)
    # norm(y) = 2 (y - 4) / 4 + 5 = y / 2 + 3
    behind = fold_after(conv, norm)
    assert (behind.weight.item(), behind.bias.item()) == (1.5, 3.5)
    before = fold_before(norm, conv)
    assert (before.weight.item(), before.bias.item()) == (1.5, 10.0)


@pytest.mark.parametrize("given", [None, "xs"])
def test_only_modules_are_fused(given):
    with pytest.raises(TypeError, match=rf"built backbone or model .* not {given!r}"):
        fuse(given)


@pytest.mark.parametrize("arch", [3, None, ["xs"]])
def test_an_arch_is_a_name_or_a_dict(arch):
    with pytest.raises(TypeError, match=r"expected one of xs, s, m, t, or dict\(depths"):
        CASViT(arch)


def test_a_norm_before_padding_is_refused():
    with pytest.raises(ValueError, match="cannot be folded in"):
        fold_before(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1))


@pytest.mark.parametrize("arch", ["xs", "t"])
def test_official_variants(arch):
    backbone = with_statistics(CASViT(arch))
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert_close(fuse(backbone)(x), backbone(x))


@pytest.mark.parametrize(
    ("out_indices", "size"),
    [((0, 1, 2, 3), (64, 64)), ((1, 2, 3), (75, 50)), ((0, 2), (75, 50))],
)
def test_any_outputs_and_sizes(out_indices, size):
    backbone = with_statistics(CASViT(TINY, out_indices=out_indices)).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    fused = fuse(backbone)
    with torch.no_grad():
        assert_close(fused(x), backbone(x), 1e-12)
    assert fused.out_channels == backbone.out_channels
    assert norms(fused) == [f"norm{2 * i}" for i in out_indices]


def test_the_original_stays_and_a_second_time_changes_nothing():
    backbone = with_statistics(CASViT(TINY)).train()
    before = copy.deepcopy(backbone.state_dict())
    fused = fuse(backbone)
    assert backbone.training and not fused.training
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    again = fuse(fused).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in fused.state_dict().items())


def test_maps_are_channels_last_without_a_word_about_the_input():
    maps = fuse(CASViT(TINY))(torch.randn(1, 3, 64, 64))
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_equals_eager():
    """One stage, because most of the time is spent in the C++ compiler."""
    from torch._dynamo.utils import counters  # the import takes seconds

    fused = fuse(with_statistics(CASViT(TINY, out_indices=(0,))))
    x = torch.randn(1, 3, 64, 96)
    torch._dynamo.reset()
    counters.clear()
    with torch.no_grad():
        assert_close(compiled(fused, fused=True)(x), fused(x))
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def test_small_images_are_still_refused():
    with pytest.raises(ValueError, match="32 or more"):
        fuse(CASViT(TINY))(torch.randn(1, 3, 64, 31))


def model_of(config: str, **options: object) -> nn.Module:
    cfg = resolve(config, RunOptions(cfg_options=options)).config
    register_scope(cfg)
    cfg.model.backbone.init_cfg = None
    return import_module(f"{cfg.default_scope}.registry").MODELS.build(cfg.model)


@pytest.mark.parametrize(
    ("name", "levels", "left"),
    [
        # RetinaNet's extra levels start from the last input: its norm stays.
        pytest.param("retinanet", 3, ["backbone.norm6"], marks=pytest.mark.slow),
        ("retinanet", 5, ["backbone.norm6"]),
        ("mask-rcnn", 4, []),
        pytest.param("mask-rcnn", 5, [], marks=pytest.mark.slow),
    ],
)
def test_output_norms_go_into_the_neck(name, levels, left):
    config = f"configs/demo/{name}_casvit-mini_fpn_shapes.py"
    model = with_statistics(model_of(config, **{"model.neck.num_outs": levels})).double()
    fused = fuse(model)
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        assert_close(fused.neck(fused.backbone(x)), model.neck(model.backbone(x)), 1e-12)
    assert norms(fused) == left


def test_operators_of_mmcv_get_what_they_can_read():
    """RoIAlign reads channels-last maps as if they were contiguous."""
    model = model_of("configs/demo/mask-rcnn_casvit-mini_fpn_shapes.py").eval()
    maps = [torch.randn(1, 64, side, side) for side in (32, 16, 8, 4)]
    boxes = torch.tensor([[0, 4.0, 4.0, 60.0, 40.0], [0, 10.0, 20.0, 120.0, 110.0]])
    channels_last = [m.contiguous(memory_format=torch.channels_last) for m in maps]
    extract = fuse(model).roi_head.bbox_roi_extractor
    torch.testing.assert_close(
        extract(channels_last, boxes), model.roi_head.bbox_roi_extractor(maps, boxes)
    )


def test_a_segmenter_keeps_no_norm_at_all():
    model = with_statistics(model_of("configs/demo/fpn_casvit-mini_shapes.py")).double()
    fused = fuse(model)
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        assert_close([fused._forward(x)], [model._forward(x)], 1e-12)
    assert norms(fused) == []


@pytest.mark.parametrize(
    "backbone",
    [
        {"type": "ResNet", "depth": 50},
        {"type": "MobileNetV2"},
    ],
    ids=lambda cfg: f"{cfg['type']}{cfg.get('depth', '')}",
)
def test_peers_get_what_their_structure_allows(backbone):
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    module = with_statistics(MODELS.build(backbone)).double()
    fused = fuse(module)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        assert_close(fused(x), module(x), 1e-12)
    assert norms(module) and not norms(fused)


class PreNorm(nn.Module):
    """conv1 and bn1 by name and width, but the norm comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv1(self.bn1(x))


class NormAndActivation(nn.BatchNorm2d):
    """As in timm: the norm's class holds its activation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).relu()


@pytest.mark.parametrize(
    "module",
    [
        PreNorm(),
        nn.Sequential(nn.Conv2d(4, 4, 1), NormAndActivation(4)),
        ConvModule(4, 4, 1, norm_cfg={"type": "BN"}, order=("conv", "act", "norm")),
    ],
    ids=["before", "with activation", "behind an activation"],
)
def test_norms_that_do_not_simply_follow_a_convolution_stay(module):
    module = with_statistics(module)
    fused = fuse(module)
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        assert_close([fused(x)], [module(x)])
    assert norms(fused)
