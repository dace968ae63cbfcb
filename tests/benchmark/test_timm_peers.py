"""timm's networks in the benchmark: the maps of a backbone, counted and fused as ours are."""

import sys

import pytest
import torch
from timm_models import timm_or_skip

from casvit_dense.benchmark.cases import BenchmarkCase, rivals
from casvit_dense.benchmark.counts import costs_of
from casvit_dense.benchmark.networks import build, check_model, example
from casvit_dense.errors import UserError
from casvit_dense.results import read_targets
from casvit_dense.zoo import backbone_of

#: Five maps, of which a backbone gives four.
SMALL = BenchmarkCase(model="timm:mobilenetv4_conv_small_035", size=(64, 96))


def check_maps(case: BenchmarkCase) -> None:
    with torch.no_grad():
        maps = build(case)(example(case))
    height, width = case.size
    assert [tuple(m.shape[2:]) for m in maps] == [(height // s, width // s) for s in (4, 8, 16, 32)]


def test_a_network_of_timm_is_a_backbone_with_four_maps() -> None:
    timm = timm_or_skip()
    check_maps(SMALL)
    costs, _ = costs_of(SMALL)
    alone = timm.create_model("mobilenetv4_conv_small_035", features_only=True)
    assert costs["backbone"].params == sum(p.numel() for p in alone.parameters())
    with pytest.raises(UserError, match="no network 'repvit_m9'; did you mean"):
        check_model("timm:repvit_m9")
    with pytest.raises(UserError, match="timm:vit_tiny_patch16_224 has maps of strides"):
        build(BenchmarkCase(model="timm:vit_tiny_patch16_224", size=(64, 64)))


@pytest.mark.slow
def test_a_network_for_one_size_is_made_for_the_size_of_the_case() -> None:
    timm_or_skip()
    check_maps(BenchmarkCase(model="timm:efficientformerv2_s0", size=(64, 96)))


def test_without_timm_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="timm cannot be imported"):
        check_model("timm:repvit_m1_1")


def test_the_suite_measures_every_rival_by_the_name_that_tables_show() -> None:
    names = {f"timm:{row.timm}" for row in read_targets().rivals}
    assert {case.name for case in rivals()} == names == set(map(backbone_of, names))
    assert {(case.form, case.backend) for case in rivals()} == {
        *(("reference", "eager"), ("fused", "eager"), ("fused", "onnxruntime")),
        ("fused", "openvino"),
    }
