"""Peers: the same heads and recipes around backbones of mmdet and mmseg."""

import subprocess
import sys
from copy import deepcopy
from functools import cache
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import mmdet
import pytest
import torch
from mmengine.config import Config
from pages import table_of_page
from torch import nn
from torch.overrides import TorchFunctionMode

from casvit_dense.config.read import register_scope
from casvit_dense.errors import UserError
from casvit_dense.results import read_targets

CONFIGS = Path(__file__).parents[2] / "configs"
#: Channels of the four maps, as in the papers.
CHANNELS = {
    "resnet18": (64, 128, 256, 512),
    "resnet50": (256, 512, 1024, 2048),
    "mobilenetv2": (24, 32, 96, 320),
    "pvt-t": (64, 128, 320, 512),
    "pvt-s": (64, 128, 320, 512),
    "pvtv2-b0": (32, 64, 160, 256),
    "pvtv2-b1": (64, 128, 320, 512),
    "pvtv2-b2": (64, 128, 320, 512),
    "swin-t": (96, 192, 384, 768),
    "mit-b0": (32, 64, 160, 256),
    "mit-b1": (64, 128, 320, 512),
    "mscan-t": (32, 64, 160, 256),
    "mscan-s": (64, 128, 320, 512),
}
#: Our recipe -> name of a peer's.
HEADS = {
    "retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco": "retinanet_{}_fpn_8xb4-1x_coco",
    "mask_rcnn/mask-rcnn_casvit-xs_fpn_8xb4-1x_coco": "mask-rcnn_{}_fpn_8xb4-1x_coco",
    "sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512": "fpn_{}_8xb4-40k_ade20k-512x512",
}
SEM_FPN = HEADS["sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512"]
#: A config of the frameworks themselves around the same backbone.
OWN_CONFIG = {
    "resnet18": "mmdet/.mim/configs/retinanet/retinanet_r18_fpn_1x_coco.py",
    "resnet50": "mmdet/.mim/configs/retinanet/retinanet_r50_fpn_1x_coco.py",
    "mobilenetv2": "mmseg/.mim/configs/mobilenet_v2/"
    "mobilenet-v2-d8_fcn_4xb4-160k_ade20k-512x512.py",
    "pvt-t": "mmdet/.mim/configs/pvt/retinanet_pvt-t_fpn_1x_coco.py",
    "pvt-s": "mmdet/.mim/configs/pvt/retinanet_pvt-s_fpn_1x_coco.py",
    "pvtv2-b0": "mmdet/.mim/configs/pvt/retinanet_pvtv2-b0_fpn_1x_coco.py",
    "pvtv2-b1": "mmdet/.mim/configs/pvt/retinanet_pvtv2-b1_fpn_1x_coco.py",
    "pvtv2-b2": "mmdet/.mim/configs/pvt/retinanet_pvtv2-b2_fpn_1x_coco.py",
    "swin-t": "mmdet/.mim/configs/swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py",
    "mit-b0": "mmseg/.mim/configs/segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py",
    "mit-b1": "mmseg/.mim/configs/segformer/segformer_mit-b1_8xb2-160k_ade20k-512x512.py",
    "mscan-t": "mmseg/.mim/configs/segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py",
    "mscan-s": "mmseg/.mim/configs/segnext/segnext_mscan-s_1xb16-adamw-160k_ade20k-512x512.py",
}
#: Models with another size than published, both in millions to one digit: ours, theirs.
OTHER_SIZES = {
    "fpn_resnet18_8xb4-40k_ade20k-512x512": (15.4, 15.5),
    "fpn_pvtv2-b0_8xb4-40k_ade20k-512x512": (7.5, 7.6),
    "retinanet_pvtv2-b0_fpn_8xb4-1x_coco": (12.9, 13.0),
}
HEAD_OF_STEM = {
    stem.format(peer): number for number, stem in enumerate(HEADS.values()) for peer in CHANNELS
}
STEMS = [
    pytest.param(stem.format(peer), peer, id=f"{stem.split('_')[0]}-{peer}")
    for stem, peer in product(HEADS.values(), CHANNELS)
]


@cache
def read(stem: str) -> Config:
    return Config.fromfile(CONFIGS / f"{stem}.py")


def peer_config(stem: str) -> Config:
    return deepcopy(read(f"peers/{stem}"))


class NoInit(TorchFunctionMode):
    """Leaves tensors as they are made: filling them takes most of the time that models take."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs.get("tensor", args[0] if args else None)
        return func(*args, **kwargs)


def build(cfg: Config, node: Any) -> nn.Module:
    """A config's model or a part of it, its weights without meaning."""
    scope = register_scope(cfg)
    cfg.model.backbone.init_cfg = None
    cfg.model.pop("pretrained", None)
    with NoInit():
        return import_module(f"{scope}.registry").MODELS.build(node)


def backbone_of(peer: str) -> nn.Module:
    cfg = peer_config(SEM_FPN.format(peer))
    return build(cfg, cfg.model.backbone)


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters() if p.requires_grad) / 1e6


def test_every_peer_stands_under_every_head() -> None:
    found = {path.stem for path in (CONFIGS / "peers").glob("*.py")}
    assert found == {stem.format(peer) for stem, peer in product(HEADS.values(), CHANNELS)}


@pytest.mark.parametrize("ours", HEADS, ids=lambda path: path.split("/")[0])
@pytest.mark.parametrize("peer", CHANNELS)
def test_only_the_backbone_differs_from_our_recipe(ours: str, peer: str) -> None:
    theirs = peer_config(HEADS[ours].format(peer)).to_dict()
    own = read(ours).to_dict()
    for cfg in (theirs, own):
        del cfg["model"]["backbone"], cfg["model"]["neck"]["in_channels"]
        cfg["model"]["neck"].pop("start_level", None)
    del theirs["peer"]
    assert theirs == own


@pytest.mark.parametrize(("stem", "peer"), STEMS)
def test_model_reads_the_maps_of_its_backbone(stem: str, peer: str) -> None:
    cfg = peer_config(stem)
    model = build(cfg, cfg.model).train()
    maps = model.backbone(torch.randn(2, 3, 64, 96))
    strides = (4, 8, 16, 32)
    expected = [(2, c, 64 // s, 96 // s) for c, s in zip(CHANNELS[peer], strides, strict=True)]
    assert [tuple(m.shape) for m in maps] == expected[4 - len(maps) :]
    assert list(cfg.model.neck.in_channels) == [m.shape[1] for m in maps]
    inputs = maps[cfg.model.neck.get("start_level", 0) :]
    assert [m.shape[2] for m in inputs] == ([8, 4, 2] if "retinanet" in stem else [16, 8, 4, 2])

    # Distributed training waits for a gradient of every parameter.
    sum(m.sum() for m in model.neck(maps)).backward()
    for part in (model.backbone, model.neck):
        parameters = part.named_parameters()
        assert [n for n, p in parameters if p.requires_grad and p.grad is None] == []

    size = round(millions(model), 1)
    target = read_targets().of_config(stem)
    if target is not None and target.params_m is not None:
        assert (size, target.params_m) == OTHER_SIZES.get(stem, (size, size))
    assert table_of_page("Sizes")[peer][1 + HEAD_OF_STEM[stem]] == f"{size:.1f}"


@pytest.mark.parametrize("peer", CHANNELS)
def test_backbone_is_the_one_of_the_frameworks_own_config(peer: str) -> None:
    path = Path(mmdet.__file__).parents[1] / OWN_CONFIG[peer]
    cfg = Config.fromfile(path)
    ours, theirs = backbone_of(peer), build(cfg, cfg.model.backbone)
    shapes = [{n: t.shape for n, t in b.state_dict().items()} for b in (ours, theirs)]
    assert shapes[0] == shapes[1]
    total = sum(p.numel() for p in ours.parameters()) / 1e6
    assert table_of_page("Sizes")[peer][0] == f"{total:.1f}"


@pytest.mark.parametrize(
    ("peer", "name", "digits"),
    [
        ("resnet18", "ResNet18", 2),
        ("resnet50", "ResNet50", 2),
        ("mobilenetv2", "MobileNetV2", 2),
        ("pvt-t", "PVT-Tiny", 1),
        ("pvt-s", "PVT-Small", 1),
        ("pvtv2-b0", "PVTv2-B0", 1),
        ("pvtv2-b1", "PVTv2-B1", 1),
        ("pvtv2-b2", "PVTv2-B2", 1),
        ("swin-t", "Swin-T", 1),
    ],
)
def test_backbone_and_classifier_have_the_published_size(peer: str, name: str, digits: int) -> None:
    backbone, width = backbone_of(peer), CHANNELS[peer][-1]
    classifier = 1000 * (width + 1)
    if peer == "mobilenetv2":  # a convolution with its norm before the classifier
        classifier = (width + 2) * 1280 + 1000 * (1280 + 1)
    own = sum(p.numel() for p in backbone.parameters())
    published = {c.backbone: c.params_m for c in read_targets().classifiers}
    assert round((own + classifier) / 1e6, digits) == published[name]


@pytest.mark.parametrize(("peer", "segformer"), [("mit-b0", 3.8), ("mit-b1", 13.7)])
def test_mit_and_the_decoder_of_segformer_have_the_published_size(
    peer: str, segformer: float
) -> None:
    # Decoder by hand: a projection of every map to 256 channels, one of all four together, each
    # with its norm, and 150 classes. Published: EMOv2 paper, arXiv 2412.06674, table 11.
    projections = sum((width + 2) * 256 for width in (*CHANNELS[peer], 4 * 256))
    decoder = projections + 150 * (256 + 1)
    total = sum(p.numel() for p in backbone_of(peer).parameters()) + decoder
    assert round(total / 1e6, 1) == segformer


@pytest.mark.parametrize("peer", CHANNELS)
def test_missing_pretrained_weights_are_an_error_of_the_user(peer, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = peer_config(SEM_FPN.format(peer))
    file = cfg.model.backbone.init_cfg.checkpoint
    assert file.startswith("pretrained/")
    register_scope(cfg)
    backbone = import_module("mmseg.registry").MODELS.build(cfg.model.backbone)
    with pytest.raises(UserError, match=f"weight file {file} does not exist"):
        backbone.init_weights()


@pytest.mark.parametrize(
    "stem",
    [
        "retinanet_mit-b0_fpn_8xb4-1x_coco",
        pytest.param(SEM_FPN.format("pvt-t"), marks=pytest.mark.slow),
    ],
)
def test_backbone_of_the_other_framework_is_found_by_a_fresh_process(stem: str) -> None:
    code = """
import sys
from mmengine.config import Config  # before this package, which has to find its registries then
from casvit_dense.config.read import register_scope
from mmengine.registry import MODELS
cfg = Config.fromfile(sys.argv[1])
register_scope(cfg)
cfg.model.backbone.init_cfg = None
assert "CASViT" in MODELS
print(type(MODELS.build(cfg.model).backbone).__module__)
"""
    path = CONFIGS / "peers" / f"{stem}.py"
    command = [sys.executable, "-W", "ignore", "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    module = {"mit-b0": "mmseg.models.backbones.mit", "pvt-t": "mmdet.models.backbones.pvt"}
    assert done.stdout.splitlines()[-1:] == [module[stem.split("_")[1]]], done.stderr
