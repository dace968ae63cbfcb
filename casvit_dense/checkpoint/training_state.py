"""The whole state of a training, as resuming needs it: checked before anything is built of it."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import _ParamScheduler
from torch import Tensor

from casvit_dense.checkpoint.reader import read_checkpoint
from casvit_dense.errors import UserError, shortlist

#: Parts that `--resume` restores, beside those of a schedule, which not every training has.
PARTS = ("meta", "state_dict", "optimizer", "message_hub")
SCHEDULES = "param_schedulers"
#: What a schedule's state holds: whole numbers, and lists with a number for each group.
STEPS = ("last_step", "_global_step")
GROUP_VALUES = ("base_values", "_last_value")
#: Facts in the message hub that are lists of whole numbers.
COUNTS = ("keep_ckpt_ids", "epoch_began")


def read_training_state(path: str | os.PathLike[str], scheduled: bool = True) -> Mapping[str, Any]:
    """Reads a checkpoint that holds the whole state of a training.

    Args:
        path: a checkpoint that mmengine's runner wrote.
        scheduled: the training has schedules of its learning rate; the file must have their state.

    Returns:
        The file's table: ``meta`` with ``epoch`` and ``iter``, ``state_dict``, ``optimizer``,
        ``message_hub``, ``param_schedulers``.

    Raises:
        UserError: the file cannot be read safely, a part is absent (as in converted and ``best_…``
            files), of a shape that the runner cannot take, or not finite.
    """
    content = read_checkpoint(path)
    needed = (*PARTS, SCHEDULES) if scheduled else PARTS
    advice = "resume from another epoch_… or iter_… file"
    absent = [part for part in needed if part not in content]
    if absent:
        raise UserError(
            f"{path} cannot be resumed: it has no {', '.join(absent)}, as converted and best_… "
            f"files; {advice}, or begin a new training with its weights: "
            f"--cfg-options load_from={path}"
        )
    faults = [
        *meta_faults(content["meta"]),
        *tensor_faults("state_dict", content["state_dict"]),
        *optimizer_faults(content["optimizer"]),
        *hub_faults(content["message_hub"]),
        *schedule_faults(content.get(SCHEDULES, []), content["optimizer"]),
    ]
    if faults:
        raise UserError(f"{path} cannot be resumed: {shortlist(faults, 3)}; {advice}")
    return content


def check_fits(
    path: str | os.PathLike[str],
    content: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    schedules: Sequence[Any] = (),
) -> None:
    """Compares a training's state with the optimizer and the schedules that are to take it.

    torch compares the numbers of groups and parameters alone, and mmengine's schedules take
    anything; moments of another shape would break the first step.

    Args:
        path: named in the error.
        content: as `read_training_state` returned it.
        optimizer: its parameters are those of the model.
        schedules: mmengine's schedules of the optimizer.

    Raises:
        UserError: it has other groups, moments of other shapes, or other kinds of schedules.
    """
    stored = content["optimizer"]
    then = [len(group["params"]) for group in stored["param_groups"]]
    now = [len(group["params"]) for group in optimizer.param_groups]
    faults = []
    if then != now:
        faults.append(f"{sum(then)} parameters in {len(then)} groups, not {sum(now)} in {len(now)}")
    else:
        numbers = [number for group in stored["param_groups"] for number in group["params"]]
        tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
        for number, tensor in zip(numbers, tensors, strict=True):
            for name, value in stored["state"].get(number, {}).items():
                if isinstance(value, Tensor) and value.ndim and value.shape != tensor.shape:
                    shapes = f"{list(value.shape)}, not {list(tensor.shape)}"
                    faults.append(f"{name} of parameter {number} has the shape {shapes}")
    kept = content.get(SCHEDULES, [])
    if len(kept) != len(schedules):
        faults.append(f"{len(kept)} schedules, not {len(schedules)}")
    for number, (state, schedule) in enumerate(zip(kept, schedules, strict=False), 1):
        if state.keys() != schedule.state_dict().keys():
            faults.append(f"schedule {number} is no {type(schedule).__name__}")
    if faults:
        raise UserError(
            f"{path} cannot be resumed: its optimizer or schedule is that of another model or "
            f"recipe ({shortlist(faults, 2)}); give the config and flags of the first run"
        )


def is_count(value: Any) -> bool:
    """Whether it is a whole number from 0; True is none."""
    return type(value) is int and value >= 0


def are_numbers(value: Any) -> bool:
    """Whether it is a list of finite numbers."""
    return isinstance(value, (list, tuple)) and all(
        isinstance(item, Real) and math.isfinite(item) for item in value
    )


def meta_faults(meta: Any) -> Iterator[str]:
    if not isinstance(meta, Mapping):
        yield f"`meta` is a {type(meta).__name__}, not a table"
        return
    for key in ("epoch", "iter"):
        if not is_count(meta.get(key)):
            yield f"`meta.{key}` is {meta.get(key)!r:.40}, not a whole number from 0"
    seed = meta.get("seed")
    if seed is not None and not (is_count(seed) and seed < 2**32):
        yield f"`meta.seed` is {seed!r:.40}, not a whole number below 2^32"


def tensor_faults(name: str, table: Any) -> Iterator[str]:
    """What is wrong with a table of tensors."""
    if not isinstance(table, Mapping) or not table:
        yield f"`{name}` is no table of tensors"
        return
    for key, value in table.items():
        if not isinstance(value, Tensor):
            yield f"`{name}` has no tensor under {key!r:.40}"
        elif not torch.isfinite(value).all():
            yield f"`{name}.{key}` is not finite"


def optimizer_faults(optimizer: Any) -> Iterator[str]:
    """What is wrong with an optimizer's state: values by parameter, and groups of these."""
    states = optimizer.get("state") if isinstance(optimizer, Mapping) else None
    groups = optimizer.get("param_groups") if isinstance(optimizer, Mapping) else None
    if not isinstance(states, Mapping) or not isinstance(groups, list) or not groups:
        yield "`optimizer` is no table of `state` and `param_groups`"
        return
    numbers: list[Any] = []
    for group in groups:
        listed = group.get("params") if isinstance(group, Mapping) else None
        if not isinstance(listed, list) or not all(map(is_count, listed)):
            yield "`optimizer.param_groups` do not list the numbers of their parameters"
            return
        numbers += listed
        for key in ("lr", "initial_lr", "weight_decay"):
            if key in group and not are_numbers([group[key]]):
                yield f"`optimizer.param_groups`: {key} is {group[key]!r:.40}, not a number"
    if len(set(numbers)) < len(numbers) or not states.keys() <= set(numbers):
        yield "`optimizer.state` is of other parameters than its groups"
    for number, values in states.items():
        if not isinstance(values, Mapping):
            yield f"`optimizer.state.{number}` is no table"
            continue
        tensors = {key: value for key, value in values.items() if isinstance(value, Tensor)}
        others = [value for value in values.values() if not isinstance(value, Tensor)]
        if not are_numbers([value for value in others if value is not None]):
            yield f"`optimizer.state.{number}` holds something that is no number"
        if tensors:
            yield from tensor_faults(f"optimizer.state.{number}", tensors)


def hub_faults(hub: Any) -> Iterator[str]:
    """What is wrong with the state of mmengine's message hub: histories, facts and their keys."""
    tables = ("log_scalars", "runtime_info", "resumed_keys")
    if not isinstance(hub, Mapping) or not all(isinstance(hub.get(t), Mapping) for t in tables):
        yield f"`message_hub` is no table of {', '.join(tables)}"
        return
    if not all(isinstance(value, HistoryBuffer) for value in hub["log_scalars"].values()):
        yield "`message_hub.log_scalars` holds something that is no history"
    for key, value in hub["runtime_info"].items():
        if not isinstance(key, str):
            yield f"`message_hub.runtime_info` has the key {key!r:.40}"
        elif key == "last_ckpt" or key.startswith("best_ckpt"):
            if not isinstance(value, str):
                yield f"`message_hub.runtime_info.{key}` is {value!r:.40}, not a path"
        elif key.startswith("best_score"):
            if not are_numbers([value]):
                yield f"`message_hub.runtime_info.{key}` is {value!r:.40}, not a number"
        elif key in COUNTS and not (isinstance(value, list) and all(map(is_count, value))):
            yield f"`message_hub.runtime_info.{key}` is {value!r:.40}, not a list of numbers"
        elif key == "epoch_began" and len(value) != 2:
            yield f"`message_hub.runtime_info.{key}` is {value!r:.40}, not epoch and iteration"


def schedule_faults(schedules: Any, optimizer: Any) -> Iterator[str]:
    """What is wrong with the states of schedules, whose keys become attributes of these."""
    if not isinstance(schedules, list):
        yield f"`{SCHEDULES}` is no list of schedules"
        return
    groups = optimizer.get("param_groups") if isinstance(optimizer, Mapping) else None
    count = len(groups) if isinstance(groups, list) else 0
    # Beside several groups mmengine keeps the settings of the whole, which schedules change, too.
    count += isinstance(optimizer, Mapping) and optimizer.get("base_param_settings") is not None
    for number, state in enumerate(schedules, 1):
        name = f"`{SCHEDULES}`: schedule {number}"
        if not isinstance(state, Mapping):
            yield f"{name} is no table"
            continue
        # A schedule that has not begun is at step -1.
        if not all(type(state.get(key)) is int and state[key] >= -1 for key in STEPS):
            yield f"{name} has no whole numbers {', '.join(STEPS)}"
        if not all(are_numbers(state.get(k)) and len(state[k]) == count for k in GROUP_VALUES):
            yield f"{name} has no numbers {', '.join(GROUP_VALUES)} for {count} groups"
        taken = [key for key in state if key == "optimizer" or hasattr(_ParamScheduler, str(key))]
        if taken:
            yield f"{name} would replace {shortlist(taken)}"
