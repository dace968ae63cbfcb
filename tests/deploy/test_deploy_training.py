"""The training form: same gradients for the same tensors, less kept for the backward pass."""

import copy

import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.registry import MODELS
from test_deploy_fuse import TINY, model_of, with_statistics
from torch import Tensor, nn

from casvit_dense import CASViT, FoldedCASViT
from casvit_dense.benchmark.networks import saved_bytes
from casvit_dense.casvit import DropPath
from casvit_dense.deploy import fold_in_training, training_form


def gradients(backbone: nn.Module, x: Tensor, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    sum((out * out).mean() for out in backbone(x)).backward()
    return {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}


def plain(dtype=torch.float64, **options) -> CASViT:
    return with_statistics(CASViT(TINY, **options)).to(dtype).train()


@pytest.mark.parametrize("save_memory", [False, True])
@pytest.mark.parametrize("options", [{}, {"drop_path_rate": 0.5}, {"frozen_stages": 1}], ids=str)
def test_gradients_of_every_parameter(save_memory, options):
    backbone = plain(**options)
    folded = training_form(backbone, save_memory)
    x = torch.randn(2, 3, 64, 50, dtype=torch.float64)
    expected, found = gradients(backbone, x), gradients(folded, x)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("save_memory", [False, True])
def test_single_precision_is_as_near_to_the_truth(save_memory):
    """Rounding alone can flip a ReLU at zero, so both forms are compared with double precision."""
    backbone = plain(torch.float32)
    x = torch.randn(2, 3, 64, 64)
    truth = gradients(copy.deepcopy(backbone).double(), x.double())
    found = gradients(training_form(backbone, save_memory), x)
    for name, gradient in truth.items():
        assert (found[name] - gradient).abs().max() <= 1e-4 * gradient.abs().max(), name


def test_input_gradient_and_a_second_backward_pass():
    backbone = plain()
    folded = training_form(backbone, save_memory=True)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    sum(out.sum() for out in backbone(x)).backward()
    expected, x.grad = x.grad, None
    loss = sum(out.sum() for out in folded(x))
    loss.backward(retain_graph=True)
    torch.testing.assert_close(x.grad, expected)
    loss.backward()  # recomputing works twice
    torch.testing.assert_close(x.grad, 2 * expected)


def test_keeps_less():
    """By counting maps of a block, in channels C: 29 for the reference; then no normalised map
    (4 fewer) nor ReLU's input; then no GELU, gate or product either: 15."""
    backbone = plain(torch.float32)
    x = torch.randn(2, 3, 128, 128)  # maps must outweigh the folded weights
    kept = [saved_bytes(lambda m=m: m(x)) for m in forms_of(backbone)]
    assert kept[0] > kept[1] > kept[2]
    assert kept[2] <= 0.70 * kept[0]


def forms_of(backbone: CASViT) -> list[CASViT]:
    return [backbone, training_form(backbone, False), training_form(backbone, True)]


def test_learned_statistics_are_learned_as_before():
    backbone = plain(norm_eval=False)
    folded = training_form(backbone, save_memory=True)
    x = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    expected, found = gradients(backbone, x), gradients(folded, x)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)
    for name, value in backbone.state_dict().items():
        torch.testing.assert_close(folded.state_dict()[name], value, msg=name)


def test_evaluates_as_the_plain_backbone():
    backbone = plain().eval()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        for out, expected in zip(training_form(backbone, True)(x), backbone(x), strict=True):
            torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("name", ["retinanet", "mask-rcnn"])
def test_losses_and_gradients_of_a_whole_detector(name):
    """Behind the backbone, mmcv's RoIAlign reads channels-last maps as if they were contiguous."""
    model = model_of(f"configs/demo/{name}_casvit-mini_fpn_shapes.py")
    with_statistics(model).train()
    model.backbone.norm_eval = True
    model.train()
    packed = demo_mm_inputs(2, [[3, 128, 128], [3, 125, 130]], num_classes=3, with_mask=True)
    data = model.data_preprocessor(packed, True)
    found = []
    for fold in (False, True):
        if fold:
            fold_in_training(model.backbone, recompute=True)
        torch.manual_seed(0)  # of the sampled proposals
        losses, _ = model.parse_losses(model(**copy.deepcopy(data), mode="loss"))
        model.zero_grad()
        losses.backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append((losses.detach(), torch.cat(gradients)))
    (loss, gradient), (folded_loss, folded_gradient) = found
    torch.testing.assert_close(folded_loss, loss, rtol=1e-4, atol=0)
    assert (folded_gradient - gradient).norm() <= 1e-3 * gradient.norm()


def test_tensor_names_are_official():
    config = {"type": "FoldedCASViT", "arch": "xs", "recompute": True, "drop_path_rate": 0.1}
    folded = MODELS.build(config)
    assert isinstance(folded, FoldedCASViT)
    assert folded.state_dict().keys() == CASViT("xs").state_dict().keys()
    folded.load_state_dict(CASViT("xs").state_dict())
    assert max(p.drop_prob for p in folded.modules() if isinstance(p, DropPath)) == pytest.approx(
        0.1
    )


def test_computing_twice_in_two_ways_is_refused():
    with pytest.raises(ValueError, match="exclude each other"):
        FoldedCASViT(TINY, recompute=True, with_cp=True)
