"""The random numbers of a run with a seed."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from casvit_dense.engine import repeatable
from casvit_dense.engine.hooks import RepeatableHook

Draws = tuple[float, float, float]
MOMENTS = ("before_train_epoch", "before_train_iter", "after_train_iter")


@pytest.fixture(autouse=True)
def rank(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    found = {"rank": 0}
    monkeypatch.setattr(repeatable, "get_rank", lambda: found["rank"])
    return found


def draw() -> Draws:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def draws_at(moment: str, iteration: int, seed: int = 7) -> Draws:
    """What is drawn first after a moment of a run."""
    epoch = () if moment == "before_train_epoch" else (0,)
    getattr(RepeatableHook(), moment)(SimpleNamespace(seed=seed, iter=iteration), *epoch)
    return draw()


@pytest.mark.parametrize("moment", MOMENTS)
def test_draws_depend_on_seed_process_and_iteration_alone(
    moment: str, rank: dict[str, int]
) -> None:
    first = draws_at(moment, 4)
    for _ in range(5):
        draw()
    draws_at("before_train_iter", 2, seed=1)
    assert draws_at(moment, 4) == first, "whatever was drawn before"
    others = [draws_at(moment, 5), draws_at(moment, 4, seed=8)]
    rank["rank"] = 1
    others.append(draws_at(moment, 4))
    for place in range(3):
        assert len({draws[place] for draws in (first, *others)}) == 4


def test_a_resumed_epoch_loads_what_the_next_step_would_have() -> None:
    assert draws_at("after_train_iter", 3) == draws_at("before_train_epoch", 4)
    assert draws_at("before_train_iter", 4) != draws_at("before_train_epoch", 4)
