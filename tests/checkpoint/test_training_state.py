"""What a checkpoint must hold to be resumed."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import LinearLR, MultiStepLR, OptimWrapper

from casvit_dense.checkpoint import check_fits, read_training_state
from casvit_dense.errors import UserError


def training(width: int = 3) -> tuple[torch.optim.Optimizer, list[Any], dict[str, Any]]:
    """An optimizer and its schedules after three steps, and their state as mmengine saves it."""
    model = torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.BatchNorm1d(width))
    groups = [{"params": list(part.parameters())} for part in model]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    wrapper = OptimWrapper(optimizer)  # where there are several groups, schedules see one more
    schedules = [
        LinearLR(wrapper, start_factor=0.1, end=2),
        MultiStepLR(wrapper, milestones=[4], begin=2),
    ]
    for _ in range(3):
        model(torch.ones(2, 2)).sum().backward()
        wrapper.step()
        for schedule in schedules:
            schedule.step()
    hub = MessageHub("test_training_state")
    hub.update_scalar("train/loss", 1.5)
    hub.update_info("keep_ckpt_ids", [3])
    hub.update_info("best_score", np.float32(0.5))
    hub.update_info("best_ckpt", "best.pth")
    content = {
        "meta": {"epoch": 1, "iter": 3, "seed": 0},
        "state_dict": model.state_dict(),
        "message_hub": hub.state_dict(),
        "optimizer": wrapper.state_dict(),
        "param_schedulers": [schedule.state_dict() for schedule in schedules],
    }
    return optimizer, schedules, content


def saved(content: object, folder: Path) -> Path:
    torch.save(content, folder / "iter_3.pth")
    return folder / "iter_3.pth"


def test_a_whole_state_is_read_and_fits(tmp_path: Path) -> None:
    optimizer, schedules, content = training()
    path = saved(content, tmp_path)
    read = read_training_state(path)
    assert read["meta"] == content["meta"]
    check_fits(path, read, optimizer, schedules)
    del content["param_schedulers"]
    assert "param_schedulers" not in read_training_state(saved(content, tmp_path), scheduled=False)


Change = Callable[[dict[str, Any]], object]

FAULTS: dict[str, tuple[Change, str]] = {
    "no optimizer": (lambda c: c.pop("optimizer"), "it has no optimizer, as converted and best_"),
    "no schedules": (lambda c: c.pop("param_schedulers"), "it has no param_schedulers"),
    "no hub": (lambda c: c.pop("message_hub"), "it has no message_hub"),
    "meta a text": (lambda c: c.update(meta="x"), "`meta` is a str"),
    "negative iteration": (lambda c: c["meta"].update(iter=-5), "`meta.iter` is -5, not a whole"),
    "iteration a text": (lambda c: c["meta"].update(iter="3"), "`meta.iter` is '3'"),
    "epoch True": (lambda c: c["meta"].update(epoch=True), "`meta.epoch` is True"),
    "no epoch": (lambda c: c["meta"].pop("epoch"), "`meta.epoch` is None"),
    "seed a text": (lambda c: c["meta"].update(seed="x"), "`meta.seed` is 'x'"),
    "NaN weight": (lambda c: c["state_dict"]["0.weight"].fill_(torch.nan), "0.weight` is not fin"),
    "no weights": (lambda c: c.update(state_dict={}), "`state_dict` is no table of tensors"),
    "weight a text": (lambda c: c["state_dict"].update(x="y"), "has no tensor under 'x'"),
    "optimizer a list": (lambda c: c.update(optimizer=[]), "`optimizer` is no table"),
    "no groups": (lambda c: c["optimizer"].update(param_groups=[]), "`optimizer` is no table of"),
    "group a text": (lambda c: c["optimizer"].update(param_groups=["x"]), "do not list the numb"),
    "parameter negative": (
        lambda c: c["optimizer"]["param_groups"][0].update(params=[-1]),
        "do not list the numbers",
    ),
    "parameter twice": (
        lambda c: c["optimizer"]["param_groups"][0].update(params=[0, 0]),
        "of other parameters than its groups",
    ),
    "rate a text": (
        lambda c: c["optimizer"]["param_groups"][0].update(lr="high"),
        "lr is 'high', not a number",
    ),
    "infinite moment": (
        lambda c: c["optimizer"]["state"][0]["exp_avg"].fill_(torch.inf),
        r"`optimizer.state.0.exp_avg` is not finite",
    ),
    "moment a text": (
        lambda c: c["optimizer"]["state"][0].update(exp_avg="x"),
        "holds something that is no number",
    ),
    "state a text": (lambda c: c["optimizer"]["state"].update({0: "x"}), "state.0` is no table"),
    "hub a text": (lambda c: c.update(message_hub="x"), "`message_hub` is no table of"),
    "hub without keys": (lambda c: c["message_hub"].pop("resumed_keys"), "`message_hub` is no"),
    "history a number": (
        lambda c: c["message_hub"]["log_scalars"].update(x=1.0),
        "something that is no history",
    ),
    "best score a text": (
        lambda c: c["message_hub"]["runtime_info"].update(best_score="best"),
        "best_score` is 'best', not a number",
    ),
    "best checkpoint a number": (
        lambda c: c["message_hub"]["runtime_info"].update(best_ckpt=1),
        "best_ckpt` is 1, not a path",
    ),
    "kept checkpoints a path": (
        lambda c: c["message_hub"]["runtime_info"].update(keep_ckpt_ids=["/../x"]),
        "not a list of numbers",
    ),
    "a begin without an epoch": (
        lambda c: c["message_hub"]["runtime_info"].update(epoch_began=[6]),
        "epoch_began` is \\[6\\], not epoch and iteration",
    ),
    "schedules a table": (lambda c: c.update(param_schedulers={}), "is no list of schedules"),
    "schedule a text": (lambda c: c.update(param_schedulers=["x"]), "schedule 1 is no table"),
    "step a text": (
        lambda c: c["param_schedulers"][0].update(last_step="x"),
        "schedule 1 has no whole numbers last_step",
    ),
    "values of one group": (
        lambda c: c["param_schedulers"][1].update(base_values=[0.1]),
        "schedule 2 has no numbers base_values, _last_value for 3 groups",
    ),
    "method": (lambda c: c["param_schedulers"][0].update(step=1), "would replace step"),
}


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return training()[2]


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_a_broken_state_is_named(
    change: Change, message: str, content: dict[str, Any], tmp_path: Path
) -> None:
    content = deepcopy(content)
    change(content)
    path = saved(content, tmp_path)
    with pytest.raises(UserError, match="cannot be resumed: .*" + message) as caught:
        read_training_state(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_state_of_another_training_does_not_fit(content: dict[str, Any]) -> None:
    def refused(optimizer: Any, schedules: list[Any]) -> str:
        with pytest.raises(UserError, match="that of another model or recipe") as caught:
            check_fits("iter_3.pth", content, optimizer, schedules)
        return str(caught.value)

    optimizer, schedules, _ = training(width=4)
    assert "exp_avg of parameter 0 has the shape [3, 2], not [4, 2]" in refused(
        optimizer, schedules
    )
    optimizer, schedules, _ = training()
    assert "2 schedules, not 1" in refused(optimizer, schedules[:1])
    assert "schedule 1 is no MultiStepLR" in refused(optimizer, schedules[::-1])
    single = torch.optim.AdamW(p for g in optimizer.param_groups for p in g["params"])
    assert "4 parameters in 2 groups, not 4 in 1" in refused(single, schedules)
