"""When checkpoints are written: never in the middle of an accumulated step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from broken_runs import differences
from mmengine.model import BaseModel
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner
from torch.utils.data import BatchSampler

import casvit_dense.engine  # noqa: F401  (registers loops and hooks)
from casvit_dense.checkpoint import read_checkpoint

#: Five batches an epoch, three epochs; or eight iterations. Two batches are a step.
LOOPS: dict[str, dict[str, Any]] = {
    "epoch": {"type": "EpochLoop", "max_epochs": 3},
    "iter": {"type": "IterLoop", "max_iters": 8},
    "fewer": {"type": "EpochLoop", "max_epochs": 4},
}
INTERVALS = {"epoch": 1, "iter": 3, "fewer": 4}


@DATA_SAMPLERS.register_module()
class Fewer(BatchSampler):
    """Gives one batch less than it says, as mmdet's does that drops the last ones."""

    def __len__(self) -> int:
        return super().__len__() + 1


class Rows:
    """Ten samples."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"inputs": torch.arange(3.0) - index}


class Line(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, inputs: list[torch.Tensor], mode: str) -> dict[str, torch.Tensor]:
        return {"loss": self.layer(torch.stack(inputs)).square().mean()}


def run(kind: str, folder: Path, resumed: Path | None = None) -> Path:
    """Trains; gives the last checkpoint."""
    torch.manual_seed(0)
    hook = {"type": "KeepingHook", "interval": INTERVALS[kind], "by_epoch": kind == "epoch"}
    runner = Runner(
        Line(),
        str(folder),
        train_dataloader={
            "dataset": Rows(),
            "batch_size": 2,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "batch_sampler": {"type": "Fewer", "drop_last": False} if kind == "fewer" else None,
        },
        train_cfg=LOOPS[kind],
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.01}, "accumulative_counts": 2},
        param_scheduler={"type": "StepLR", "step_size": 1, "gamma": 0.5, "by_epoch": True},
        default_hooks={"checkpoint": hook},
        load_from=resumed and str(resumed),
        resume=resumed is not None,
        randomness={"seed": 1},
        experiment_name=str(folder),
    )
    runner.train()
    return Path(runner.message_hub.get_info("last_ckpt"))


@pytest.mark.parametrize(
    ("kind", "saved"),
    [
        # The first epoch ends at 5, the first interval at 3: with half a step.
        ("epoch", {"epoch_1": (1, 6), "epoch_2": (2, 10), "epoch_3": (3, 15)}),
        ("fewer", {f"iter_{n}": (n // 5 - (n == 20), n) for n in (4, 8, 12, 16, 20)}),
        ("iter", {"iter_4": (0, 4), "iter_6": (0, 6), "iter_8": (0, 8)}),
    ],
)
def test_a_checkpoint_waits_for_the_end_of_an_accumulated_step(
    kind: str, saved: dict[str, tuple[int, int]], tmp_path: Path
) -> None:
    last = run(kind, tmp_path / "straight")
    paths = {path.stem: path for path in last.parent.glob("*.pth")}
    found = {name: read_checkpoint(path)["meta"] for name, path in paths.items()}
    assert {name: (meta["epoch"], meta["iter"]) for name, meta in found.items()} == saved
    for name in list(saved)[:-1]:
        resumed = run(kind, tmp_path / name, paths[name])
        assert differences(resumed, last) == []
