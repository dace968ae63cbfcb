"""Multiply-adds and bytes against arithmetic by hand, a second counter, and published figures."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from casvit_dense.benchmark.cases import BenchmarkCase
from casvit_dense.benchmark.counts import cost_columns, costs_of, share_columns
from casvit_dense.benchmark.machine import Rates
from casvit_dense.casvit import CASViT
from casvit_dense.counts import Cost, count, count_backbone, count_training

TINY = dict(depths=[1, 1, 1, 1], dims=[8, 16, 16, 16])


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def test_convolution_by_hand() -> None:
    conv = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2, device="meta")
    cost = count_backbone(conv, meta(2, 6, 10, 12))
    outputs = 2 * 8 * 5 * 6
    assert cost.macs == outputs * 3 * 9  # three input channels a group
    assert cost.params == 8 * 3 * 9 + 8
    assert cost.moved == 4 * (2 * 6 * 10 * 12 + cost.params + outputs)


def test_matrix_products_by_hand() -> None:
    a, b, c = meta(3, 4, 5), meta(3, 5, 6), meta(6, 7)
    (first, first_bytes), (second, second_bytes) = count(
        nn.Identity(), lambda: (a @ b).view(12, 6) @ c
    ).operators
    assert (first, first_bytes) == (3 * 4 * 5 * 6, 4 * (60 + 90 + 72))
    assert (second, second_bytes) == (12 * 6 * 7, 4 * (72 + 42 + 84))


def macs_by_hand(dims: list[int], side: int) -> int:
    """One block a stage: every convolution as outputs times inputs of one of them."""
    pixels = [(side // stride) ** 2 for stride in (4, 8, 16, 32)]
    total = (side // 2) ** 2 * (dims[0] // 2) * 3 * 9 + pixels[0] * dims[0] * (dims[0] // 2) * 9
    for i, (dim, area) in enumerate(zip(dims, pixels, strict=True)):
        if i:
            total += area * dim * dims[i - 1] * 9
        local = area * dim * (dim + 9 + dim)
        gate = area * dim * 9 + area * dim + dim * dim  # depthwise, to one map, of the channels
        mixer = area * dim * (3 * dim + 9 + 9) + 2 * gate
        total += local + mixer + area * 8 * dim * dim
    return total


def test_backbone_by_hand() -> None:
    backbone = CASViT(TINY).eval().to("meta")
    assert count_backbone(backbone, meta(1, 3, 64, 64)).macs == macs_by_hand(TINY["dims"], 64)


def test_backward_is_twice_the_forward_but_for_the_image() -> None:
    backbone = CASViT(TINY).train().to("meta")
    forward = macs_by_hand(TINY["dims"], 64)
    stem = 32 * 32 * 4 * 3 * 9  # the image itself needs no gradient
    assert count_training(backbone, meta(1, 3, 64, 64)).macs == 3 * forward - stem
    assert all(p.grad is None for p in backbone.parameters())


@pytest.mark.parametrize("arch", ["xs", pytest.param("t", marks=pytest.mark.slow)])
def test_torchs_own_counter_agrees(arch: str) -> None:
    backbone = CASViT(arch).eval().to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone(meta(1, 3, 96, 64))
    assert 2 * count_backbone(backbone, meta(1, 3, 96, 64)).macs == counter.get_total_flops()


@pytest.mark.parametrize(("arch", "gmacs"), [("xs", 2.9), ("s", 4.8), ("m", 9.7), ("t", 18.6)])
def test_backbones_at_512(arch: str, gmacs: float) -> None:
    # Our own earlier count, from the official code, of convolutions and linear layers.
    costs, rois = costs_of(BenchmarkCase(model=f"casvit-{arch}"))
    assert costs["backbone"].macs / 1e9 == pytest.approx(gmacs, abs=0.05)
    assert rois == (0, 0)


@pytest.mark.parametrize(
    ("config", "size", "params", "gmacs", "rois"),
    [
        ("retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco", (800, 1280), 12.2, 161.9, None),
        (
            "mask_rcnn/mask-rcnn_casvit-xs_fpn_8xb4-1x_coco",
            *((800, 1280), 22.8, 180.4, "1000 boxes, 100 masks"),
        ),
        ("sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512", (512, 512), 6.9, 24.1, None),
    ],
)
def test_models_by_part(
    config: str, size: tuple[int, int], params: float, gmacs: float, rois: str | None
) -> None:
    case = BenchmarkCase(
        model=f"configs/{config}.py", part="model", mode="count", size=size, batch=2
    )
    columns = cost_columns(*costs_of(case), case)
    assert columns["params_m"] == pytest.approx(params, abs=0.05)
    assert columns["gmacs"] == pytest.approx(gmacs, abs=0.05)  # of an image, not of the batch
    parts = [columns[f"{part}_gmacs"] for part in ("backbone", "neck", "head")]
    assert sum(parts) == pytest.approx(columns["gmacs"]) and min(parts) > 0
    assert columns["rois"] == rois


def test_shares_by_hand() -> None:
    # One operator waits for the multiplier, the other for memory.
    cost = Cost(operators=[(50e9, 1_000_000), (1e6, 2_000_000_000)])
    rates = Rates(100e9, 10e9, "oneDNN")
    found = share_columns(cost, 2.0, rates, halved=False)
    assert found["matmul_share"] == pytest.approx(100.002e9 / 2 / 100e9)
    assert found["copy_share"] == pytest.approx(2.001e9 / 2 / 10e9)
    assert found["roofline_share"] == pytest.approx((1.0 + 0.2) / 2)
    assert (found["matmul_gflops"], found["copy_gbs"]) == (100.0, 10.0)
    halved = share_columns(cost, 2.0, rates, halved=True)
    assert halved["roofline_share"] == pytest.approx((1.0 + 0.1) / 2)
