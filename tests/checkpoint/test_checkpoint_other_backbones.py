"""Loading models whose backbone is no CAS-ViT: their own names, strictly."""

import pytest
import torch
from torch import Tensor, nn
from weight_files import TINY, assert_holds, dense_state, edited, filled, save_official_dense

from casvit_dense import CASViT, load_pretrained
from casvit_dense.checkpoint import load_model
from casvit_dense.errors import UserError

ONE = torch.ones(1)


class StagedBackbone(nn.Module):
    """Names its tensors as ConvNeXt and Swin do, which resemble the port's."""

    def __init__(self) -> None:
        super().__init__()
        self.downsample_layers = nn.ModuleList([nn.Conv2d(3, 4, 1)])
        self.stages = nn.ModuleList([nn.Conv2d(4, 4, 1) for _ in range(4)])
        self.norm0 = nn.BatchNorm2d(4)
        self.norm3 = nn.BatchNorm2d(4)


class StagedModel(nn.Module):
    """A dense model around it."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = StagedBackbone()
        self.decode_head = nn.Conv2d(4, 2, 1)


def mmdet_model(backbone: dict) -> nn.Module:
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    neck = {"type": "FPN", "in_channels": [8, 16], "out_channels": 4, "num_outs": 2}
    head = {"type": "RetinaHead", "num_classes": 2, "in_channels": 4, "feat_channels": 4}
    model = {"type": "RetinaNet", "backbone": backbone, "neck": neck, "bbox_head": head}
    return MODELS.build({**model, "test_cfg": {}, "_scope_": "mmdet"})


def swin_detector() -> nn.Module:
    sizes = {"embed_dims": 8, "depths": [1, 1], "num_heads": [1, 2], "strides": [4, 2]}
    return mmdet_model({"type": "SwinTransformer", "out_indices": (0, 1), **sizes})


def resnet_detector() -> nn.Module:
    sizes = {"depth": 18, "num_stages": 2, "strides": (1, 2), "dilations": (1, 1)}
    return mmdet_model({"type": "ResNet", "out_indices": (0, 1), "base_channels": 8, **sizes})


def drawn(model: nn.Module) -> dict[str, Tensor]:
    """Values for every tensor of a model."""
    state = model.state_dict()
    values = filled({name: tensor.shape for name, tensor in state.items()})
    return {name: value.to(state[name].dtype) for name, value in values.items()}


@pytest.mark.parametrize("build", [StagedModel, swin_detector, resnet_detector])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_models_of_other_backbones_load_what_they_wrote(build, prefix, tmp_path):
    model = build()
    state = drawn(model)
    table = {prefix + name: tensor for name, tensor in state.items()}
    torch.save({"state_dict": table, "message_hub": {}, "meta": {}}, tmp_path / "x.pth")
    report = load_model(model, tmp_path / "x.pth")
    assert_holds(model, state)
    assert report.matched == len(state)
    assert not report.left_out
    assert report.format == "mmengine dense"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"backbone__norm0__weight": None}, r"missing \(1\): backbone\.norm0\.weight"),
        ({"backbone__norm2__weight": ONE}, r"unexpected \(1\): backbone\.norm2\.weight"),
        ({"decode_head__bias": ONE}, r"another shape \(1\): decode_head\.bias \[1\] instead"),
    ],
)
def test_models_of_other_backbones_must_fit_wholly(edit, message, tmp_path):
    model = StagedModel()
    torch.save({"state_dict": edited(drawn(model), **edit)}, tmp_path / "x.pth")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=message) as caught:
        load_model(model, tmp_path / "x.pth")
    assert "CAS-ViT" not in str(caught.value)
    assert_holds(model, before)


def test_a_casvit_file_does_not_fit_another_backbone(tmp_path):
    path = save_official_dense(tmp_path / "x.pth", dense_state())
    with pytest.raises(UserError, match=r"hold depths=\[1, 1.*, the model has no CAS-ViT stages"):
        load_model(StagedModel(), path)


@pytest.mark.parametrize("extra", [{}, {"norm.weight": ONE, "head.weight": ONE}])
def test_a_backbone_file_is_no_model_of_another_backbone(extra, tmp_path):
    model = StagedModel()
    state = {n: t for n, t in drawn(model).items() if n.startswith("backbone.")} | extra
    torch.save({"state_dict": state}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"missing \(2\): decode_head\.bias"):
        load_model(model, tmp_path / "x.pth")


def test_other_staged_backbones_are_not_taken_for_the_port(tmp_path):
    torch.save({"state_dict": drawn(StagedModel())}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"official dense.*no CAS-ViT stages"):
        load_pretrained(CASViT(TINY), tmp_path / "x.pth")
