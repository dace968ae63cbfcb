"""Steps of a training made not finite: by an image, a weight, a gradient or the loss itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from mmengine.model import BaseModel

from casvit_dense.training.draws import StepSeedHook

KINDS = ("input", "weight", "gradient", "loss")


@contextmanager
def poisoned(kind: str, at: int | None = None) -> Iterator[None]:
    """Poisons the step `at` of a training, counted from 1.

    Without one, and where the poison is in the code, every step, as a replay needs it.
    """
    due = at is None
    seed, parse = StepSeedHook.before_train_iter, BaseModel.parse_losses

    def before(self: StepSeedHook, runner: Any, batch_idx: int, data_batch: Any) -> None:
        nonlocal due
        due = runner.iter + 1 == at
        seed(self, runner, batch_idx, data_batch)
        if due and kind == "input":
            image = data_batch["inputs"][0].float()
            image[0, 0, 0] = torch.nan
            data_batch["inputs"][0] = image
        elif due and kind == "weight":
            next(runner.model.parameters()).data.view(-1)[0] = torch.nan

    def parsed(self: BaseModel, losses: dict) -> tuple:
        loss, values = parse(self, losses)
        weight = next(p for p in self.parameters() if p.requires_grad).view(-1)[0]
        if due and kind == "gradient":
            loss = loss + torch.sqrt(0 * weight)
        elif due and kind == "loss":
            loss = loss + torch.inf
        return loss, {**values, "loss": loss}

    with (
        patch.object(StepSeedHook, "before_train_iter", before),
        patch.object(BaseModel, "parse_losses", parsed),
    ):
        yield
