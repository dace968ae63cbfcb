"""``--backbone module:Class``: a class of one's own in our recipes."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from casvit_dense.benchmark.cases import BenchmarkCase
from casvit_dense.benchmark.networks import build
from casvit_dense.config.read import read_config, register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions
from casvit_dense.reproduce.plan import with_backbone, zoo_plan

CONFIGS = Path(__file__).parents[2] / "configs"
#: Config of a recipe -> where its neck begins.
RECIPES = {
    "retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco.py": 1,
    "mask_rcnn/mask-rcnn_casvit-xs_fpn_8xb4-1x_coco.py": 0,
    "sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512.py": 0,
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_stands_in_every_recipe_with_its_neck_and_its_name(recipe: str, own_module: str) -> None:
    config, options = CONFIGS / recipe, RunOptions(backbone=f"{own_module}:Net", from_scratch=True)
    resolved, ours = resolve(config, options), resolve(config, RunOptions(from_scratch=True))
    cfg = resolved.config
    assert cfg.model.neck.in_channels == [8, 12, 16, 20]
    assert cfg.model.neck.start_level == RECIPES[recipe]
    assert Path(cfg.filename).stem == config.stem.replace("casvit-xs", "own-backbones-Net")
    assert Path(cfg.work_dir).name == Path(cfg.filename).stem
    assert resolved.hashes != ours.hashes
    for part in ("train_dataloader", "optim_wrapper", "param_scheduler"):
        assert cfg.get(part) == ours.config.get(part)
    model = import_module(f"{register_scope(cfg)}.registry").MODELS.build(cfg.model)
    levels = model.neck(model.backbone(torch.randn(1, 3, 64, 64)))
    assert [m.shape[-1] for m in levels[:3]] == [
        64 // s for s in (4, 8, 16, 32)[RECIPES[recipe] :]
    ][:3]


def test_its_weights_have_a_file_and_flags_of_theirs(own_module: str) -> None:
    config, name = CONFIGS / next(iter(RECIPES)), f"{own_module}:Net"
    cfg = resolve(config, RunOptions(backbone=name)).config
    assert cfg.model.backbone.init_cfg.checkpoint == "pretrained/own_backbones.Net.safetensors"
    cfg = resolve(config, RunOptions(backbone=name, pretrained="mine.pth")).config
    assert cfg.model.backbone.init_cfg == dict(type="Pretrained", checkpoint="mine.pth")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "own_backbones:Three",
            "gives 1x12x8x12 and 1x16x4x6 and 1x20x2x3; a neck reads four maps",
        ),
        ("own_backbones:One", "gives a Tensor; a neck reads four maps"),
        ("own_backbones:Broken", "ValueError: no such luck ("),
        ("own_backbones:OneSize", "an image of 96x64: RuntimeError: The size of tensor"),
        ("own_backbones:Half", "its maps are torch.float16; a neck reads torch.float32"),
        ("own_backbones:Exits", "SystemExit: two lines ("),
        ("own_backbones:NoModule", "gives a NoModule, which is no torch.nn.Module"),
        ("exiting:Net", "exiting.py, line 2)"),
        ("own_backbones:Plain", "init_cfg"),
        ("own_backbones:Nix", "own_backbones.py) has no 'Nix'"),
        ("no_such_module:Net", "No module named 'no_such_module'"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(name: str, message: str, own_module: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(CONFIGS / next(iter(RECIPES)), RunOptions(backbone=name))
    assert message in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_benchmark_says_in_one_line_what_cannot_be_built(own_module: str) -> None:
    with pytest.raises(UserError, match="--backbone own_backbones:Exits: SystemExit: two lines"):
        build(BenchmarkCase(f"{own_module}:Exits"))


def test_a_model_without_a_neck_is_refused(own_module: str) -> None:
    cfg = read_config(CONFIGS / "imagenet/casvit-xs_8xb256_in1k.py")
    with pytest.raises(UserError, match=r"^--backbone own_backbones:Net: .* has no neck"):
        resolve(
            Config(cfg.to_dict(), filename=cfg.filename), RunOptions(backbone="own_backbones:Net")
        )


def test_a_plan_has_each_recipe_once(own_module: str) -> None:
    plan = with_backbone(zoo_plan(), "own_backbones:Net")
    assert [model.stem.split("_")[1] for model in plan.models] == ["own-backbones-Net"] * len(
        RECIPES
    )
