"""A classifier trained as ImageNet's are: in several processes, with averaged weights."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from broken_runs import STOPPED, differences, signal_at
from processes import run_together

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.cli import main
from casvit_dense.data.shape_crops import cut_shapes
from casvit_dense.data.shapes import ShapesSpec, generate_shapes

#: Batches of two sizes, two of them a step; three epochs of two batches.
TEXT = """
_base_ = "{demo}"
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    batch_sampler=dict(type="MultiScaleBatches", size=64, sizes=(32, 64)),
    dataset=dict(
        pipeline=[
            dict(type="ReadRGB"),
            dict(type="RandomResizedCrop", size=64),
            dict(type="RandomHorizontalFlip"),
            dict(type="RandAugmentPIL"),
            dict(type="PackClassInputs"),
        ]
    ),
)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
optim_wrapper = dict(accumulative_counts=2)
train_cfg = dict(max_epochs=3, val_interval=3)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=-1))
custom_hooks = [
    dict(
        type="EMAHook",
        ema_type="ExponentialMovingAverage",
        momentum={momentum},
        interval=2,
        update_buffers=True,
    )
]
"""
DEMO = Path(__file__).parents[2] / "configs/demo/casvit-mini_shapes-64.py"
MOMENTUM = 0.1


def train(config: Path, crops: Path, work_dir: Path, *flags: str, stop_at: int = 0) -> list[int]:
    """The exit codes of two processes; both get a signal in an iteration, counted from 1."""
    words = ["train", str(config), "--from-scratch", "--data-root", str(crops), *flags]
    words += ["--work-dir", str(work_dir), "--launcher", "pytorch", "--seed", "3"]

    def job() -> int:
        with signal_at(stop_at, signal.SIGTERM):
            return main(words)

    logs = work_dir.with_name(f"{work_dir.name}-logs{len(flags)}")
    logs.mkdir()
    return run_together(job, 2, logs)


def tensors(checkpoint: dict[str, Any], key: str) -> dict[str, torch.Tensor]:
    """Of the averages (``state_dict``) or of the weights that were trained."""
    table = {name.removeprefix("module."): t for name, t in checkpoint[key].items()}
    return {name: t for name, t in table.items() if name.endswith(("weight", "bias"))}


@pytest.mark.slow
def test_averages_are_those_by_hand_and_a_broken_run_ends_as_a_straight_one(
    tmp_path: Path,
) -> None:
    generate_shapes(tmp_path / "shapes", ShapesSpec(train=10, val=5, size=64))
    crops = cut_shapes(tmp_path / "shapes")
    config = tmp_path / "averaged.py"
    config.write_text(TEXT.format(demo=DEMO, momentum=MOMENTUM))
    assert train(config, crops, tmp_path / "straight") == [0, 0]
    assert train(config, crops, tmp_path / "broken", stop_at=3) == [STOPPED] * 2
    assert not (tmp_path / "broken/iter_6.pth").exists()
    assert train(config, crops, tmp_path / "broken", "--resume") == [0, 0]
    last = [tmp_path / run / "iter_6.pth" for run in ("straight", "broken")]
    assert differences(*last) == []
    source = [read_checkpoint(path)["ema_state_dict"] for path in last]
    assert all(torch.equal(tensor, source[1][name]) for name, tensor in source[0].items())

    # The average begins with the first weights and takes a share of those of each step.
    first, second = (read_checkpoint(tmp_path / f"straight/iter_{i}.pth") for i in (2, 4))
    before, trained = tensors(first, "state_dict"), tensors(first, "ema_state_dict")
    after = tensors(second, "state_dict")
    assert any(not torch.equal(before[name], trained[name]) for name in before)
    for name, average in before.items():
        expected = average + MOMENTUM * (trained[name] - average)
        torch.testing.assert_close(after[name], expected, msg=name)
