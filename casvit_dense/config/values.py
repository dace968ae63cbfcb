"""Values of a config that mean nothing: numbers out of range, and what classes refuse themselves.

Transforms, hooks, optimizers and learning rate schedules are built for a trial, which takes
milliseconds: they check their own arguments. No data are read.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from casvit_dense.config.keys import REGISTRIES, UNKNOWN, Parts
from casvit_dense.config.names import Fault, did_you_mean
from casvit_dense.config.signatures import KINDS, kind_of
from casvit_dense.config.tree import LOADERS, parts_of, walk
from casvit_dense.errors import UserError

#: What is raised for values that are refused. Anything else may be this machine's: a missing
#: package or file.
REFUSALS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)

#: Sections and settings of some kinds; each may be None where mmengine has a default.
KINDS_OF_SECTIONS: Final = {
    **dict.fromkeys((*LOADERS, "train_cfg", "val_cfg", "test_cfg", "optim_wrapper"), ("dict",)),
    **dict.fromkeys(("default_hooks", "env_cfg", "randomness", "auto_scale_lr"), ("dict",)),
    **dict.fromkeys(("model", "log_processor", "visualizer", "data_preprocessor"), ("dict",)),
    **dict.fromkeys(("val_evaluator", "test_evaluator", "param_scheduler"), ("dict", "list")),
    "custom_hooks": ("list",),
    **dict.fromkeys(("work_dir", "load_from", "log_level", "experiment_name"), ("str",)),
    **dict.fromkeys(("resume", "find_unused_parameters"), ("bool",)),
    **dict.fromkeys(("env_cfg.cudnn_benchmark", "auto_scale_lr.enable"), ("bool",)),
    **dict.fromkeys(("env_cfg.mp_cfg", "env_cfg.dist_cfg"), ("dict",)),
    "env_cfg.dist_cfg.backend": ("str",),
}


class Range(NamedTuple):
    """Numbers that may stand at some places.

    Attributes:
        places: pattern of dotted keys.
        low: the least.
        whole: whether they are whole ones.
        other: another one that is admitted.
    """

    places: str
    low: int
    whole: bool = True
    other: int | None = None


NUMBERS: Final = (
    Range(r"train_cfg\.(max_epochs|max_iters|val_interval)", 1),
    Range(r"train_cfg\.val_begin", 0),
    Range(r"\w+_dataloader\.(batch_size|prefetch_factor|num_batch_per_epoch)", 1),
    Range(r"\w+_dataloader\.num_workers", 0),
    Range(r"optim_wrapper\.optimizer\.(lr|weight_decay|momentum|eps)", 0, whole=False),
    Range(r"optim_wrapper\.accumulative_counts", 1),
    Range(r"optim_wrapper\.clip_grad\.(max_norm|clip_value)", 0, whole=False),
    Range(
        r"param_scheduler(\.\d+)?\.(begin|end|T_max|gamma|power|eta_min|start_factor)",
        0,
        whole=False,
    ),
    Range(r"default_hooks\.logger\.interval", 1),
    Range(r"default_hooks\.checkpoint\.(interval|max_keep_ckpts)", 1, other=-1),
    Range(r"auto_scale_lr\.base_batch_size|env_cfg\.resource_limit", 1),
    Range(r"env_cfg\.dist_cfg\.timeout", 0, whole=False),
    Range(r"randomness\.seed", 0),
    Range(r"model\..*num_classes", 1),
)
MILESTONES: Final = re.compile(r"param_scheduler(\.\d+)?\.milestones")

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

#: What is built for a trial: the outer steps of pipelines, hooks, optimizer and schedulers, and
#: what images are normalised by.
TRIED: Final = re.compile(
    r"(train|val|test)_dataloader(\.(?!pipeline\b)\w+)*\.pipeline\.\d+|(default|custom)_hooks\.\w+"
    r"|optim_wrapper\.optimizer|param_scheduler(\.\d+)?|(model\.)?data_preprocessor"
)

#: What evaluators call their figures; those of other evaluators are not known beforehand.
COCO_NAMES: Final = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")
IOU_NAMES: Final = {
    "mIoU": ("mIoU", "mAcc"),
    "mDice": ("mDice", "mAcc"),
    "mFscore": ("mFscore", "mPrecision", "mRecall"),
}


def section_faults(cfg: Mapping[str, Any]) -> Iterator[Fault]:
    """Sections and settings that are not what their name says."""
    values = dict(walk(cfg))
    for name, kinds in KINDS_OF_SECTIONS.items():
        value = values.get(name)
        if value is not None and kind_of(value).replace("parts", "list") not in kinds:
            words = " or ".join(KINDS[kind] for kind in kinds)
            yield Fault(name, f"must be {words}, not {value!r}")
    level = cfg.get("log_level")
    if isinstance(level, str) and level not in LEVELS:
        yield Fault("log_level", f"no level is called '{level}'{did_you_mean(level, LEVELS)}")


def number_faults(cfg: Mapping[str, Any]) -> Iterator[Fault]:
    """Numbers that are out of range, and milestones that do not rise."""
    for place, value in walk(cfg):
        if value is None or isinstance(value, Mapping):
            continue
        for places, low, whole, other in NUMBERS:
            if not re.fullmatch(places, place) or value == other:
                continue
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not value >= low or (whole and value % 1):
                words = f"{'whole ' * whole}number, {low:g} or more"
                words += f", or {other}" if other is not None else ""
                yield Fault(place, f"must be a {words}, not {value!r}")
        if MILESTONES.fullmatch(place):
            is_list = isinstance(value, (list, tuple))
            if not is_list or not all(type(s) in (int, float) and s >= 0 for s in value):
                yield Fault(place, f"must be a list of numbers, not {value!r}")
            elif list(value) != sorted(value):
                yield Fault(place, f"must rise, not {value!r}")


def trial_faults(cfg: Mapping[str, Any], scope: str) -> Iterator[Fault]:
    """What classes raise when they are built with the arguments of a config.

    Args:
        cfg: a config without other faults.
        scope: of the framework that it is for.
    """
    weight = torch.nn.Parameter(torch.zeros(1))
    for place, node in walk(cfg):
        if not TRIED.fullmatch(place) or not isinstance(node, Mapping) or "type" not in node:
            continue
        section = place.partition(".")[0]
        given: dict[str, Any] = {}
        if section == "optim_wrapper":
            given["params"] = [weight]
        elif section == "param_scheduler":
            given["optimizer"] = torch.optim.SGD([weight], lr=1.0)
        fault = refusal(node, section, node.get("_scope_", scope), given)
        if fault is not None:
            yield Fault(place, f"{node['type']} cannot be built: {fault}")


def refusal(
    node: Mapping[str, Any], section: str, scope: str, given: Mapping[str, Any]
) -> str | None:
    """Why the class of a part refuses its arguments, if it does."""
    kind = Parts(REGISTRIES[section], scope).find(node["type"], scope)
    if kind is UNKNOWN:
        return None
    taken = {"type", "_scope_", "priority"}  # by the builders, before the class gets the rest
    arguments = {**given, **{key: value for key, value in node.items() if key not in taken}}
    make: Callable = kind
    if arguments.pop("convert_to_iter_based", False):
        make = kind.build_iter_from_epoch
        arguments = {"end": 1, **arguments, "epoch_length": 100}
    try:
        with DefaultScope.overwrite_default_scope(scope), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come again when it is built to be used
            make(**arguments)
    except REFUSALS as error:
        return str(error) or "its arguments are refused"
    except Exception:  # not about the arguments
        return None
    return None


def save_best_faults(cfg: Mapping[str, Any], scope: str) -> Iterator[Fault]:
    """A metric that the best checkpoint is chosen by, and that no evaluator gives."""
    names = metric_names(cfg.get("val_evaluator"), scope)
    if not names:
        return
    checkpoint = (cfg.get("default_hooks") or {}).get("checkpoint") or {}
    asked = [("default_hooks.checkpoint.save_best", checkpoint.get("save_best"))]
    for index, hook in enumerate(cfg.get("custom_hooks") or ()):
        if isinstance(hook, Mapping) and hook.get("type") == "EarlyStoppingHook":
            asked.append((f"custom_hooks.{index}.monitor", hook.get("monitor")))
    for place, wanted in asked:
        for name in parts_of(wanted):
            if name not in ("auto", *names):
                yield Fault(place, f"no evaluator gives '{name}'{did_you_mean(name, names)}")


def metric_names(evaluator: Any, scope: str) -> list[str] | None:
    """The names of all figures that an evaluator gives; None where they cannot be known."""
    names: list[str] = []
    parts = Parts(REGISTRIES["val_evaluator"], scope)
    for node in parts_of(evaluator):
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
