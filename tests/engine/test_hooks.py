"""Random numbers of a run with a seed; test_train.py has the proof on a real run."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config

from casvit_dense.engine import hooks
from casvit_dense.engine.hooks import ModelRecordHook, RepeatableHook
from casvit_dense.errors import UserError


@pytest.mark.parametrize("moment", ["before_train_epoch", "before_train_iter", "after_train_iter"])
def test_processes_and_iterations_draw_other_numbers(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draws(iteration: int, seed: int = 7, rank: int = 0) -> tuple[float, float, float]:
        monkeypatch.setattr(hooks, "get_rank", lambda: rank)
        epoch = () if moment == "before_train_epoch" else (0,)
        getattr(RepeatableHook(), moment)(SimpleNamespace(seed=seed, iter=iteration), *epoch)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    first = draws(4)
    others = [draws(5), draws(4, seed=8), draws(4, rank=1)]
    assert draws(4) == first
    for place in range(3):
        assert len({numbers[place] for numbers in (first, *others)}) == 4


def test_a_run_of_other_classes_is_not_resumed() -> None:
    runner = SimpleNamespace(cfg=Config({"resume": True, "load_from": "iter_2.pth"}))
    checkpoint: dict = {"meta": {}}
    hook = ModelRecordHook({"classes": ["cat", "dog"]})
    hook.after_load_checkpoint(runner, checkpoint)  # from elsewhere, without a record
    hook.before_save_checkpoint(runner, checkpoint)
    hook.after_load_checkpoint(runner, checkpoint)
    for classes in (["dog", "cat"], ["car", "bus"]):
        other = ModelRecordHook({"classes": classes})
        with pytest.raises(UserError, match="classes are cat, dog, those of the data .*--init"):
            other.after_load_checkpoint(runner, checkpoint)
        runner.cfg["resume"] = False
        other.after_load_checkpoint(runner, checkpoint)
        runner.cfg["resume"] = True
