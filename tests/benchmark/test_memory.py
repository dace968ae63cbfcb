"""Saved activations by hand, and peak memory in a process of its own."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from casvit_dense.benchmark import memory
from casvit_dense.benchmark.cases import BenchmarkCase
from casvit_dense.benchmark.networks import TrainingStep, saved_bytes

MB = 1_000_000


def test_saved_storages_count_once() -> None:
    weight = torch.ones(10, requires_grad=True)
    x = torch.ones(4, 10)

    def forward() -> list[torch.Tensor]:
        y = x * weight  # keeps x and weight, which live anyway
        z = y.exp()  # keeps its result, and y can go
        return [z[:2] * z[2:]]  # keeps two views of what exp keeps already

    assert saved_bytes(forward) == 4 * 40


def test_what_is_computed_again_is_not_saved() -> None:
    x = torch.ones(1000, requires_grad=True)

    def inner(y: torch.Tensor) -> torch.Tensor:
        return y.exp().sin().exp()

    kept = saved_bytes(lambda: [inner(x * 2)])
    # exp keeps its result, sin its input, which is the same, and the last exp its result.
    assert kept == 4 * 2000
    again = saved_bytes(lambda: [checkpoint(inner, x * 2, use_reentrant=False)])
    assert again == 4 * 1000  # the input of the checkpoint


def test_nothing_is_saved_without_gradients() -> None:
    x = torch.ones(4)
    assert saved_bytes(lambda: [(x * x).exp()]) == 0


def test_a_step_gives_all_gradients_and_keeps_none_over() -> None:
    conv = nn.Conv2d(3, 4, 1)
    images = torch.randn(2, 3, 5, 5)
    parameters = dict(conv.named_parameters())
    step = TrainingStep(Maps(conv), parameters, images)
    step()
    first = step.outputs()
    again = step.outputs()
    bias, weight = first  # by name
    direction = step.gradients[0]
    assert torch.allclose(bias, direction.sum((0, 2, 3)), atol=1e-5)
    expected = torch.einsum("nohw,nihw->oi", direction, images)[..., None, None]
    assert torch.allclose(weight, expected, atol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert step.saved_bytes() == 0  # of a convolution, the image, which lives anyway


class Maps(nn.Module):
    """A convolution that returns its map as a backbone does."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.conv(x),)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's report on a process")
def test_a_forgotten_peak_does_not_count() -> None:
    before = memory.resident_bytes()
    block = torch.ones(64 * MB, dtype=torch.uint8)
    assert memory.highest_bytes() - before > 50 * MB
    del block
    memory.forget_peak(BenchmarkCase())
    assert memory.highest_bytes() - before < 30 * MB


def test_peak_holds_weights_and_activations(tmp_path: Path) -> None:
    small = memory.peak_bytes(BenchmarkCase(size=(64, 64)), 1, tmp_path)
    large = memory.peak_bytes(BenchmarkCase(size=(512, 512)), 1, tmp_path)
    weights = 2_759_132 * 4
    hidden = 4 * 48 * 128 * 128 * 4  # the widest map: of the first MLP
    assert weights < small < 30 * weights
    assert small + hidden < large


def test_a_failure_brings_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no model 'casvit-none'"):
        memory.peak_bytes(BenchmarkCase(model="casvit-none"), 1, tmp_path)
