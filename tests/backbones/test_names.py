"""Names of backbones, as they are typed and as tables show them."""

import pytest

from casvit_dense.backbones.names import backbone_config, file_part, label_of, stem_with
from casvit_dense.errors import UserError


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("timm:repvit_m1_1", dict(type="TimmBackbone", name="repvit_m1_1")),
        ("my_package.my_module:Net", dict(type="my_package.my_module.Net")),
        ("my_module:Net", dict(type="my_module.Net")),
    ],
)
def test_a_name_is_a_config_and_comes_back_from_it(name: str, config: dict) -> None:
    assert backbone_config(name) == config
    assert label_of(config) == name


@pytest.mark.parametrize(
    ("config", "label"),
    [
        (dict(type="CASViT", arch="xs"), "CAS-ViT-XS"),
        (dict(type="CASViT", arch=dict(depths=[1, 1, 1, 1])), "CAS-ViT"),
        (dict(type="mmdet.ResNet", depth=50), "ResNet"),
        (dict(type="MyBackbone"), "MyBackbone"),
    ],
)
def test_others_have_a_label(config: dict, label: str) -> None:
    assert label_of(config) == label


@pytest.mark.parametrize(
    "name", ["timm:", "repvit_m1_1", "resnet:50", "folder/a.py:Net", "a:b:c", ":Net"]
)
def test_other_spellings_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match=r"^--backbone .*: give timm:NAME or [^\n]*$"):
        backbone_config(name)


def test_labels_are_fit_for_file_names() -> None:
    assert file_part("timm:repvit_m1_1") == "timm-repvit-m1-1"
    assert file_part("my_package.my_module:Net") == "my-package.my-module-Net"


def test_a_config_with_another_backbone_has_its_name_in_place_of_the_old() -> None:
    stem = stem_with("retinanet_casvit-xs_fpn_8xb4-1x_coco", "timm:repvit_m1_1")
    assert stem == "retinanet_timm-repvit-m1-1_fpn_8xb4-1x_coco"
    assert stem_with(stem, "timm:repvit_m1_1") == stem
    assert stem_with("mine", "a:B") == "mine_a-B"
