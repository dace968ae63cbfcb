"""Whole models: the fused form finds what the reference finds, and where not, its row fails."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from casvit_dense import deploy
from casvit_dense.benchmark.cases import product
from casvit_dense.benchmark.group import Group, Settings

QUICK = Settings(rounds=1, threads=1, memory=False, turn_seconds=0.001)
MASK_RCNN = "configs/demo/mask-rcnn_casvit-mini_fpn_shapes.py"
CONFIGS = [
    "configs/demo/retinanet_casvit-mini_fpn_shapes.py",
    MASK_RCNN,
    "configs/demo/fpn_casvit-mini_shapes.py",
]


def measure(config: str) -> list[dict[str, Any]]:
    """Figures of the reference and the fused form, one image of 64x64."""
    cases = product(model=[config], part=["model"], size=[(64, 64)], form=["reference", "fused"])
    group = Group(cases, QUICK)
    group.measure(lambda: None)
    return [group.figures[case] for case in cases]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_fused_form_finds_the_same(config: str) -> None:
    reference, fused = measure(config)
    assert reference.get("error") is None and reference["difference"] == 0
    assert fused.get("error") is None and 0 < fused["difference"] <= 1e-4


def test_a_second_stage_that_misreads_its_maps_is_a_failed_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fuse = deploy.fuse

    def misread(feature: Tensor) -> Tensor:
        """Channels-last memory as if it were contiguous."""
        memory = feature.contiguous(memory_format=torch.channels_last)
        return memory.permute(0, 2, 3, 1).reshape(feature.shape)

    def faulty(model: nn.Module) -> nn.Module:
        fused: Any = fuse(model)
        fused.roi_head.bbox_roi_extractor.register_forward_pre_hook(
            lambda module, args: (tuple(map(misread, args[0])), *args[1:])
        )
        return fused

    monkeypatch.setattr(deploy, "fuse", faulty)
    reference, fused = measure(MASK_RCNN)
    assert reference.get("error") is None
    # The maps of the first stage are right; what is found in them is not.
    assert fused["difference"] <= 1e-4 and "median_ms" not in fused
    assert fused["error"].startswith("ValueError: ")
