"""Saved activations by hand, and peak memory in a process of its own."""

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import ended, forked, wait_for
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from casvit_dense.benchmark import backends, memory
from casvit_dense.benchmark.cases import BenchmarkCase
from casvit_dense.benchmark.networks import TrainingStep, build, example, saved_bytes

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
    assert saved_bytes(step.forward) == 0  # of a convolution, the image, which lives anyway


def test_exact_gradients_add_up_over_the_images() -> None:
    """Image by image, which spares memory, gives what the whole batch gives."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1))
    module = Maps(network)
    images = torch.randn(3, 3, 6, 6)
    step = TrainingStep(module, dict(module.named_parameters()), images)
    doubled = deepcopy(module).double()
    torch.autograd.backward(doubled(images.double()), [g.double() for g in step.gradients])
    expected = [p.grad.float() for _, p in sorted(doubled.named_parameters())]
    found = step.exact_outputs()
    assert len(found) == 4
    assert all(torch.allclose(a, b, rtol=1e-6) for a, b in zip(found, expected, strict=True))
    assert all(p.grad is None for p in module.parameters())


def test_the_cast_is_part_of_the_step() -> None:
    conv = nn.Conv2d(3, 4, 1).bfloat16()
    seen = []
    step = TrainingStep(
        Maps(conv),
        dict(conv.named_parameters()),
        torch.randn(1, 3, 4, 4),
        convert=lambda images: seen.append(images.dtype) or images.bfloat16(),
    )
    seen.clear()
    step()
    assert seen == [torch.float32] and conv.weight.grad.dtype == torch.bfloat16


class Maps(nn.Module):
    """A network that returns its map as a backbone does."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.conv(x),)


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's report on a process")


def block(megabytes: int) -> torch.Tensor:
    return torch.ones(megabytes * MB, dtype=torch.uint8)


@linux
def test_known_blocks_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case that keeps 40 MB, takes 150 MB only while it is prepared and 60 MB in a call."""

    def prepare(*about: object) -> backends.Prepared:
        weights = block(40)
        block(150)
        return backends.Prepared(lambda: (weights, block(60)), dict)

    def measure() -> int:
        memory.forget_peak(case)  # what this suite's process has freed
        print(memory.measure(case, 1, tmp_path))
        return 0

    monkeypatch.setattr(backends, "prepare", prepare)
    case, printed = BenchmarkCase(), tmp_path / "printed"
    with forked(measure, printed) as pid:
        wait_for(lambda: ended(pid))
    assert int(printed.read_text()) == pytest.approx(100 * MB, rel=0.1)


class LiveBytes(TorchDispatchMode):
    """Adds up the storages that operators made and that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            storage = tensor.untyped_storage()
            ref = StorageWeakRef(storage)
            self.storages[ref.cdata] = ref, storage.nbytes()
        self.storages = {k: v for k, v in self.storages.items() if not v[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.storages.values()))
        return out


@linux
def test_peak_holds_weights_activations_and_workspace(tmp_path: Path) -> None:
    case = BenchmarkCase()
    network = build(case)
    with torch.inference_mode(), LiveBytes() as activations:
        network(example(case))
    needed = activations.peak + sum(4 * p.numel() for p in network.parameters())
    # Convolutions lay weights and maps out anew, which about doubles both.
    assert needed < memory.peak_bytes(case, 1, tmp_path) < 3 * needed


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (
            "echo first >&2; echo 'OutOfMemoryError: no room' >&2; exit 1",
            "OutOfMemoryError: no room",
        ),
        ("kill -9 $$", "ended by signal 9"),
        ("exit 3", "no message"),
    ],
)
def test_a_failure_brings_its_last_words(
    program: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{program}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(RuntimeError, match=reason):
        memory.peak_bytes(BenchmarkCase(), 1, tmp_path)
