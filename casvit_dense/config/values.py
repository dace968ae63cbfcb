"""Values of a config that mean nothing: numbers out of range, and what classes refuse themselves.

Transforms, hooks, optimizers and learning rate schedules are built for a trial, which takes
milliseconds: they check their own arguments. No data are read.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from casvit_dense.config.keys import REGISTRIES, UNKNOWN, Parts
from casvit_dense.config.names import Fault, did_you_mean
from casvit_dense.config.tree import LOADERS
from casvit_dense.errors import UserError

#: What classes raise for arguments that they refuse. Anything else may be this machine's: a missing
#: package or file.
REFUSALS: Final = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError)

#: Sections that must be dicts, lists and texts; each may be None where mmengine has a default.
KINDS_OF_SECTIONS: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys((*LOADERS, "train_cfg", "val_cfg", "test_cfg", "optim_wrapper"), (Mapping,)),
    **dict.fromkeys(("default_hooks", "env_cfg", "randomness", "auto_scale_lr"), (Mapping,)),
    **dict.fromkeys(("model", "log_processor", "visualizer", "data_preprocessor"), (Mapping,)),
    **dict.fromkeys(("val_evaluator", "test_evaluator", "param_scheduler"), (Mapping, Sequence)),
    "custom_hooks": (Sequence,),
    **dict.fromkeys(("work_dir", "load_from", "log_level", "experiment_name"), (str,)),
    **dict.fromkeys(("resume", "find_unused_parameters"), (bool,)),
}

#: Place -> least number, whether it must be a whole one, and another number that is admitted.
NUMBERS: Final = (
    (r"train_cfg\.(max_epochs|max_iters|val_interval)", 1, True, None),
    (r"train_cfg\.val_begin", 0, True, None),
    (r"\w+_dataloader\.(batch_size|prefetch_factor|num_batch_per_epoch)", 1, True, None),
    (r"\w+_dataloader\.num_workers", 0, True, None),
    (r"optim_wrapper\.optimizer\.(lr|weight_decay|momentum|eps)", 0, False, None),
    (r"optim_wrapper\.accumulative_counts", 1, True, None),
    (r"optim_wrapper\.clip_grad\.(max_norm|clip_value)", 0, False, None),
    (
        r"param_scheduler(\.\d+)?\.(begin|end|T_max|gamma|power|eta_min|start_factor)",
        0,
        False,
        None,
    ),
    (r"default_hooks\.logger\.interval", 1, True, None),
    (r"default_hooks\.checkpoint\.(interval|max_keep_ckpts)", 1, True, -1),
    (r"auto_scale_lr\.base_batch_size", 1, True, None),
    (r"randomness\.seed", 0, True, None),
    (r"model\..*num_classes", 1, True, None),
)

#: What evaluators call their figures; those of other evaluators are not known beforehand.
COCO_NAMES: Final = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")
IOU_NAMES: Final = {
    "mIoU": ("mIoU", "mAcc"),
    "mDice": ("mDice", "mAcc"),
    "mFscore": ("mFscore", "mPrecision", "mRecall"),
}


def section_faults(cfg: Mapping[str, Any]) -> Iterator[Fault]:
    """Sections that are not what their name says."""
    for name, kinds in KINDS_OF_SECTIONS.items():
        value = cfg.get(name)
        right = isinstance(value, kinds) and not (isinstance(value, str) and str not in kinds)
        if name in cfg and value is not None and not right:
            words = " or ".join(WORDS[kind] for kind in kinds)
            yield Fault(name, f"must be {words}, not {value!r}")


WORDS: Final = {Mapping: "a dict", Sequence: "a list", str: "a text", bool: "True or False"}


def value_faults(cfg: Mapping[str, Any], scope: str) -> Iterator[Fault]:
    """Milestones, arguments that the classes themselves refuse, and metrics that none gives.

    Args:
        cfg: a config without other faults.
        scope: of the framework that it is for.
    """
    yield from milestone_faults(cfg)
    yield from trial_faults(cfg, scope)
    yield from save_best_faults(cfg, scope)


def number_faults(cfg: Mapping[str, Any]) -> Iterator[Fault]:
    """Numbers that are out of range."""
    anywhere = re.compile("|".join(pattern for pattern, *_ in NUMBERS))
    for place, value in numbers_in(cfg):
        if value is None or not anywhere.fullmatch(place):
            continue
        for pattern, low, whole, other in NUMBERS:
            if not re.fullmatch(pattern, place) or value == other:
                continue
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not value >= low or (whole and value % 1):
                words = f"{'whole ' * whole}number, {low:g} or more"
                words += f", or {other}" if other is not None else ""
                yield Fault(place, f"must be a {words}, not {value!r}")


def numbers_in(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of a config with its dotted key."""
    if isinstance(node, Mapping):
        for key in node:
            yield from numbers_in(node[key], f"{place}.{key}" if place else str(key))
    elif isinstance(node, (list, tuple)) and any(isinstance(v, (Mapping, list)) for v in node):
        for index, child in enumerate(node):
            yield from numbers_in(child, f"{place}.{index}")
    else:
        yield place, node


def schedulers(cfg: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The learning rate schedulers with their dotted keys."""
    found = cfg.get("param_scheduler") or []
    if isinstance(found, Mapping):
        return [("param_scheduler", found)]
    return [(f"param_scheduler.{index}", one) for index, one in enumerate(found)]


def milestone_faults(cfg: Mapping[str, Any]) -> Iterator[Fault]:
    """Milestones that are no rising list of places in the training."""
    for place, scheduler in schedulers(cfg):
        steps = scheduler.get("milestones")
        if steps is None:
            continue
        is_list = isinstance(steps, (list, tuple))
        if not is_list or not all(type(s) in (int, float) and s >= 0 for s in steps):
            yield Fault(f"{place}.milestones", f"must be a list of numbers, not {steps!r}")
        elif list(steps) != sorted(steps):
            yield Fault(f"{place}.milestones", f"must rise, not {steps!r}")


def trial_faults(cfg: Mapping[str, Any], scope: str) -> Iterator[Fault]:
    """What classes raise when they are built with the arguments of a config."""
    for name in LOADERS:
        for place, step in steps_in(cfg.get(name), name):
            yield from built(place, step, name, scope)
    hooks = cfg.get("default_hooks") or {}
    for place, hook in [
        *((f"default_hooks.{key}", hooks[key]) for key in hooks),
        *((f"custom_hooks.{n}", hook) for n, hook in enumerate(cfg.get("custom_hooks") or ())),
    ]:
        yield from built(place, hook, "custom_hooks", scope, taken=("priority",))
    weight = torch.nn.Parameter(torch.zeros(1))
    optim = cfg.get("optim_wrapper") or {}
    optimizer = optim.get("optimizer")
    yield from built(
        "optim_wrapper.optimizer", optimizer, "optim_wrapper", scope, {"params": [weight]}
    )
    for place, scheduler in schedulers(cfg):
        trial = torch.optim.SGD([weight], lr=1.0)
        yield from built(place, scheduler, "param_scheduler", scope, {"optimizer": trial})


def steps_in(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The outer steps of every pipeline of a loader, with their dotted keys."""
    if isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from steps_in(child, f"{place}.{index}")
    elif isinstance(node, Mapping):
        for key in node:
            if key == "pipeline":
                steps = node[key] or ()
                yield from ((f"{place}.{key}.{index}", step) for index, step in enumerate(steps))
            else:
                yield from steps_in(node[key], f"{place}.{key}")


def built(
    place: str,
    node: Any,
    section: str,
    scope: str,
    given: Mapping[str, Any] = {},
    taken: Iterable[str] = (),
) -> Iterator[Fault]:
    """Builds a part for a trial; yields what its class refuses."""
    if not isinstance(node, Mapping) or "type" not in node:
        return
    scope = node.get("_scope_", scope)
    kind = Parts(REGISTRIES[section], scope).find(node["type"], scope)
    if kind is UNKNOWN:
        return
    arguments = {k: v for k, v in node.items() if k not in ("type", "_scope_", *taken)}
    make: Callable = kind
    if arguments.pop("convert_to_iter_based", False):
        make = kind.build_iter_from_epoch
        arguments = {"end": 1, **arguments, "epoch_length": 100}
    try:
        with DefaultScope.overwrite_default_scope(scope), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come again when it is built to be used
            make(**given, **arguments)
    except REFUSALS as error:
        reason = str(error) or "its arguments are refused"
        yield Fault(place, f"{node['type']} cannot be built: {reason}")
    except Exception:  # not about the arguments
        return


def save_best_faults(cfg: Mapping[str, Any], scope: str) -> Iterator[Fault]:
    """A metric that the best checkpoint is chosen by, and that no evaluator gives."""
    names = metric_names(cfg.get("val_evaluator"), scope)
    if names is None:
        return
    checkpoint = (cfg.get("default_hooks") or {}).get("checkpoint") or {}
    asked = [("default_hooks.checkpoint.save_best", checkpoint.get("save_best"))]
    for index, hook in enumerate(cfg.get("custom_hooks") or ()):
        if isinstance(hook, Mapping) and hook.get("type") == "EarlyStoppingHook":
            asked.append((f"custom_hooks.{index}.monitor", hook.get("monitor")))
    for place, wanted in asked:
        for name in wanted if isinstance(wanted, (list, tuple)) else [wanted]:
            if name not in (None, "auto", *names):
                yield Fault(place, f"no evaluator gives '{name}'{did_you_mean(name, names)}")


def metric_names(evaluator: Any, scope: str) -> list[str] | None:
    """The names of all figures that an evaluator gives; None where they cannot be known."""
    names: list[str] = []
    parts = Parts(REGISTRIES["val_evaluator"], scope)
    for node in evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]:
        kind = parts.find(node["type"], scope) if isinstance(node, Mapping) else None
        if kind is None or node.get("classwise") or node.get("metric_items"):
            return None
        if kind.__name__ in ("DenseCocoMetric", "CocoMetric"):
            kinds = node.get("metric", "bbox")
            kinds = [kinds] if isinstance(kinds, str) else kinds
            if not set(kinds) <= {"bbox", "segm"}:
                return None
            found = [f"{kind}_{name}" for kind in kinds for name in COCO_NAMES]
        elif kind.__name__ in ("DenseIoUMetric", "IoUMetric"):
            asked = node.get("iou_metrics", ["mIoU"])
            found = ["aAcc", *(name for one in asked for name in IOU_NAMES.get(one, ()))]
        else:
            return None
        prefix = node.get("prefix") or kind.default_prefix
        names += [f"{prefix}/{name}" if prefix else name for name in found]
    return names


def check_checkpoints(cfg: Config) -> None:
    """Refuses a training that would keep nothing.

    Raises:
        UserError: the config takes the hook that writes checkpoints out, and has no other.
    """
    hooks = cfg.get("default_hooks") or {}
    others = [str(hook.get("type")) for hook in cfg.get("custom_hooks") or ()]
    if "checkpoint" in hooks and hooks["checkpoint"] is None and "Checkpoint" not in str(others):
        raise UserError(
            f"{cfg.filename}: default_hooks.checkpoint is None, so that no checkpoint would be "
            "written; give it an interval"
        )
