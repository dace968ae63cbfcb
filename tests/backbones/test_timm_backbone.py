"""timm's networks in our recipes: built, run forward and backward, counted, refused."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from pages import code_of_page
from safetensors.torch import save_file
from timm_models import timm_or_skip

from casvit_dense.backbones.timm_backbone import TimmBackbone, timm_maps
from casvit_dense.benchmark.networks import dense_head, flatten
from casvit_dense.checkpoint import init_strictly
from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.engine.checks import loggers_disabled
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = (
    "retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco.py",
    "mask_rcnn/mask-rcnn_casvit-xs_fpn_8xb4-1x_coco.py",
    "sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512.py",
)
#: One that drops its map of stride 2, one whose parts are taken out of a sequence, one of blocks.
SMALL = ("resnet10t", "convnext_atto", "mobilenetv4_conv_small_035")
OTHERS = (
    *("repvit_m1_1", "fastvit_t8", "swiftformer_xs", "poolformer_s12", "edgenext_xx_small"),
    *("iformer_t", "mobilenetv4_conv_small", "mobilenetv4_hybrid_medium", "resnet18"),
    *("regnetx_002", "convnextv2_atto", "mobilenetv2_050", "mobilenetv3_small_050"),
    *("efficientnet_b0", "ghostnet_050", "mnasnet_050", "tf_efficientnet_lite0", "seresnet18"),
    *("pvt_v2_b0", "repghostnet_050", "tinynet_e", "lcnet_050", "efficientvit_b0", "starnet_s1"),
    *("mobilevit_xxs", "mobilevitv2_050", "fasternet_t0"),
)
NAMES = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_in_every_recipe_and_has_the_size_that_timm_gives_it(name: str) -> None:
    timm = timm_or_skip()
    for recipe in RECIPES:
        cfg = resolve(
            CONFIGS / recipe, RunOptions(backbone=f"timm:{name}", from_scratch=True)
        ).config
        model = import_module(f"{register_scope(cfg)}.registry").MODELS.build(cfg.model)
        maps = model.backbone(torch.randn(2, 3, 64, 64))
        assert [tuple(m.shape[2:]) for m in maps] == [(16, 16), (8, 8), (4, 4), (2, 2)]
        outputs = flatten(dense_head(model)(model.neck(maps)))
        sum(output.square().mean() for output in outputs).backward()
        assert all(p.grad is not None for p in model.backbone.parameters())
    alone = timm.create_model(name, features_only=True)
    own = sum(p.numel() for p in model.backbone.parameters())
    assert own == sum(p.numel() for p in alone.parameters())


def test_the_config_of_the_page_is_the_flag(tmp_path: Path) -> None:
    timm_or_skip()
    own = tmp_path / "mine.py"
    _, _, text, _ = code_of_page("python", "backbones.md")
    own.write_text(text.replace('"configs/', f'"{CONFIGS}/'))
    by_file = resolve(own, RunOptions()).config.model
    by_flag = resolve(CONFIGS / RECIPES[0], RunOptions(backbone="timm:repvit_m1_1")).config.model
    assert by_file.neck == by_flag.neck
    assert by_file.neck.in_channels == [64, 128, 256, 512] and by_file.neck.start_level == 1
    assert dict(by_file.backbone, init_cfg=None) == dict(by_flag.backbone, init_cfg=None)


@pytest.mark.parametrize("name", SMALL)
def test_a_file_of_timm_fills_all_but_its_classifier(name: str, tmp_path: Path) -> None:
    classifier = timm_or_skip().create_model(name)
    file = tmp_path / "model.safetensors"
    save_file(classifier.state_dict(), file)
    backbone = TimmBackbone(name, init_cfg=dict(type="Pretrained", checkpoint=str(file)))
    with loggers_disabled():
        report = init_strictly(backbone, file)
    assert report.left_out and not report.initialised
    image = torch.randn(1, 3, 64, 64)
    last = classifier.eval().forward_intermediates(image, intermediates_only=True)[-1]
    torch.testing.assert_close(backbone.eval()(image)[-1], last, rtol=1e-4, atol=1e-5)


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file(timm_or_skip().create_model("resnet10t").state_dict(), file)
    backbone = TimmBackbone(SMALL[1], init_cfg=dict(type="Pretrained", checkpoint=str(file)))
    with loggers_disabled(), pytest.raises(UserError, match="does not fit"):
        init_strictly(backbone, file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("repvit_m9", "has no network 'repvit_m9'; did you mean repvit_m0_9 or"),
        ("hf-hub:timm/resnet10t", "has no network 'hf-hub:timm/resnet10t'"),
        (
            "vit_tiny_patch16_224",
            "(columnar: all of its maps have one size); a neck reads 4, 8, 16",
        ),
        (
            "shvit_s1",
            "has maps of strides 16, 32, 64; a neck reads 4, 8, 16, 32, and there is no 4",
        ),
        ("efficientformerv2_s0", "is built for images of one size"),
    ],
)
def test_what_is_of_no_use_is_said_in_one_line(name: str, message: str) -> None:
    timm_or_skip()
    with pytest.raises(UserError) as caught:
        timm_maps(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_statistics_stay_as_the_recipe_has_them() -> None:
    timm_or_skip()
    for kept in (True, False):
        norms = [m for m in TimmBackbone("resnet10t", norm_eval=kept).train().modules()]
        norms = [m for m in norms if isinstance(m, torch.nn.BatchNorm2d)]
        assert norms and {m.training for m in norms} == {not kept}
