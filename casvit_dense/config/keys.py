"""Whether something reads each key of a config: classes by signature, dicts by who reads them.

Nothing of a config is built here, and no data are read.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final

import mmcv.ops
import torch
from mmengine.dist import init_dist
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from casvit_dense.config.names import Fault, did_you_mean, nearest
from casvit_dense.config.read import SCOPES, register_modules
from casvit_dense.config.signatures import (
    EMPTY,
    KINDS,
    Argument,
    admits,
    keys_read,
    kinds_of,
    signature_of,
)
from casvit_dense.config.tree import LOADERS, dicts_in, walk

Registries = tuple[str, ...]

_MODEL: Final[Registries] = ("MODELS", "TASK_UTILS", "WEIGHT_INITIALIZERS")
_LOADER: Final[Registries] = ("DATASETS", "TRANSFORMS", "DATA_SAMPLERS", "FUNCTIONS")

#: Section of a config -> the registries that its types are looked up in, in this order.
REGISTRIES: Final[Mapping[str, Registries]] = {
    **dict.fromkeys(("model", "tta_model", "data_preprocessor"), _MODEL),
    **dict.fromkeys(LOADERS, _LOADER),
    **dict.fromkeys(("val_evaluator", "test_evaluator"), ("METRICS", "EVALUATOR", "TASK_UTILS")),
    **dict.fromkeys(("train_cfg", "val_cfg", "test_cfg"), ("LOOPS",)),
    **dict.fromkeys(("default_hooks", "custom_hooks"), ("HOOKS", "TRANSFORMS")),
    "optim_wrapper": ("OPTIM_WRAPPERS", "OPTIMIZERS"),
    "param_scheduler": ("PARAM_SCHEDULERS",),
    "tta_pipeline": ("TRANSFORMS",),
    "visualizer": ("VISUALIZERS", "VISBACKENDS"),
    "log_processor": ("LOG_PROCESSORS",),
    "model_wrapper_cfg": ("MODEL_WRAPPERS",),
}

#: Sections and parts that are built, and so need a type.
TYPED: Final = re.compile(
    r"model(\.(backbone|neck|data_preprocessor|\w+_head))?|visualizer|tta_pipeline\.\d+"
    r"|param_scheduler(\.\d+)?|custom_hooks\.\d+|default_hooks\.\w+|\w+_evaluator(\.\d+)?"
    r"|optim_wrapper\.optimizer|\w+_dataloader\.(sampler|collate_fn|batch_sampler)"
    r"|\w+_dataloader\.(.+\.)?(dataset|datasets\.\d+|pipeline\.\d+)"
)

#: What is built where a dict names no type (mmengine's Runner).
DEFAULT_TYPES: Final = {
    "val_cfg": "ValLoop",
    "test_cfg": "TestLoop",
    "optim_wrapper": "OptimWrapper",
    "log_processor": "LogProcessor",
    "model_wrapper_cfg": "MMDistributedDataParallel",
}
#: The hooks that mmengine's Runner registers by itself, and the one that mmdet and mmseg add.
DEFAULT_HOOKS: Final = frozenset(
    {"runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint"}
    | {"visualization"}
)

#: What builders take out of a dict before its class gets the rest: by its registry ...
TAKEN_FROM: Final = {
    "HOOKS": {"priority"},  # mmengine's Runner.register_hook
    "PARAM_SCHEDULERS": {"convert_to_iter_based"},  # mmengine.registry.build_scheduler_from_cfg
    "OPTIM_WRAPPERS": {"constructor", "paramwise_cfg"},  # mmengine.optim.build_optim_wrapper
}
#: ... and by the key that it stands under.
TAKEN_AT: Final = {
    "norm_cfg": {"requires_grad"},  # mmcv.cnn.build_norm_layer
    "dcn": {"fallback_on_stride"},  # mmdet.models.backbones.resnet
    "upsample_cfg": {"scale_factor"},  # mmdet's FCNMaskHead
    "loss_cls": {"bg_cls_weight"},  # mmdet's DETRHead
    "nms": {"class_agnostic", "split_thr", "max_num"},  # mmcv.ops.batched_nms
}
#: Where ``type`` names nothing that is registered: kinds of layers and steps of a class's own
#: (mmdet's FPG and cascade RPN), and what another package builds.
UNREGISTERED: Final = re.compile(r"(.+_trans|adapt_cfg|bbox_params)")
FOREIGN: Final = frozenset({"Albu", "Albumentation"})
#: Annotations that say less than their classes take.
MISANNOTATED: Final = frozenset({"loss_scale"})

#: Of a loader, beside the arguments of torch's (mmengine's ``Runner.build_dataloader``).
LOADER_KEYS: Final = frozenset(
    {"num_batch_per_epoch", "worker_init_fn", "collate_fn", "disable_subprocess_warning"}
)
#: Dicts whose keys their owner reads by name.
READ_BY_OWNER: Final = frozenset({"filter_cfg", "data_prefix"})
#: Keys that mmdet's own configs carry along, also where nothing reads them: of anchor heads, and of
#: `CocoDataset`.
CARRIED: Final = {
    "train_cfg": {"assigner", "sampler", "allowed_border", "pos_weight", "debug"},
    "filter_cfg": {"filter_empty_gt", "min_size"},
}
#: Packages that know nothing of a config's keys.
FOUNDATIONS: Final = frozenset({"abc", "builtins", "collections", "torch", "typing"})
#: Dicts in ``train_cfg`` that mmdet passes on as arguments of functions.
PASSED_ON: Final = frozenset({"isr", "carl"})


def key_faults(cfg: Mapping[str, Any], scope: str) -> Iterator[Fault]:
    """Keys below the top level that nothing reads, types that do not exist, kinds of no use.

    Args:
        cfg: a config.
        scope: of the framework that it is for, whose registries are filled.
    """
    yield from runner_faults(cfg, scope)
    yield from model_option_faults(cfg.get("model"), scope)
    for name, section in cfg.items():
        if name in REGISTRIES and section is not None:
            yield from Parts(REGISTRIES[name], scope).faults(name, section)


def runner_faults(cfg: Mapping[str, Any], scope: str) -> Iterator[Fault]:
    """Keys of the dicts that mmengine's Runner reads itself."""
    at = dict(walk(cfg)).get
    for name in LOADERS:
        yield from call_faults(name, at(name), DataLoader, LOADER_KEYS)
    hooks = at("default_hooks")
    for name, hook in hooks.items() if isinstance(hooks, Mapping) else ():
        meant = nearest(name, DEFAULT_HOOKS, 0.6)
        if name not in DEFAULT_HOOKS and (meant or "type" not in (hook or ())):
            text = f"no hook is called '{name}'{did_you_mean(name, DEFAULT_HOOKS)}"
            yield Fault(f"default_hooks.{name}", text)
    yield from call_faults("randomness", at("randomness"), Runner.set_randomness)
    yield from call_faults("env_cfg.mp_cfg", at("env_cfg.mp_cfg"), set_multi_processing)
    read = keys_read(Runner.__module__)
    clipping = (torch.nn.utils.clip_grad_norm_, torch.nn.utils.clip_grad_value_)
    known: dict[str, Iterable[str]] = {
        "env_cfg": read["env_cfg"],
        "env_cfg.dist_cfg": {*signature_of(init_dist).arguments, "port", "timeout", "init_method"},
        "auto_scale_lr": read["auto_scale_lr"],
        "optim_wrapper.clip_grad": {"type"}.union(*(signature_of(f).arguments for f in clipping)),
    }
    makers = Parts(("OPTIM_WRAPPER_CONSTRUCTORS",), scope)
    name = at("optim_wrapper.constructor", "DefaultOptimWrapperConstructor")
    maker = makers.find(name, scope)
    if maker is None:
        yield makers.unknown("optim_wrapper.constructor", name, scope)
    elif maker is not UNKNOWN:
        known["optim_wrapper.paramwise_cfg"] = keys_of(maker, "paramwise_cfg")
    for place, keys in known.items():
        yield from unread(place, at(place), keys)


def model_option_faults(model: Any, scope: str) -> Iterator[Fault]:
    """Keys of ``train_cfg`` and ``test_cfg`` that no class of the model reads.

    Which class reads which part cannot be told without running it, so that every key is known that
    a module of one of its classes reads from anything called ``…cfg``.
    """
    if not isinstance(model, Mapping):
        return
    parts = Parts(REGISTRIES["model"], scope)
    known = set(CARRIED["train_cfg"])
    for node in (node for node in dicts_in(model) if "type" in node):
        kind = parts.find(node["type"], node.get("_scope_", scope))
        if kind is UNKNOWN:
            return
        for module in modules_of(kind):
            for name, keys in keys_read(module).items():
                known |= keys if name.endswith("cfg") else set()
    options: set[str] = set()  # places of dicts without a type, and of what is in them
    for place, node in walk(model, "model"):
        parent, _, key = place.rpartition(".")
        if key in ("train_cfg", "test_cfg") or parent in options:
            if isinstance(node, Mapping) and "type" in node:
                continue
            options.add(place)
            if isinstance(node, Mapping) and key not in PASSED_ON:
                yield from unread(place, node, known)


def modules_of(kind: Any) -> Iterator[str]:
    """The modules that a class and its parents are written in, and those of their functions."""
    for cls in kind.__mro__ if inspect.isclass(kind) else ():
        if cls.__module__.partition(".")[0] not in FOUNDATIONS:
            yield cls.__module__
            for value in vars(sys.modules[cls.__module__]).values():
                if inspect.isfunction(value):
                    yield value.__module__


def keys_of(kind: Any, name: str) -> set[str]:
    """The keys that the modules of a class and its parents read from a dict of that name."""
    return {key for module in modules_of(kind) for key in keys_read(module).get(name, ())}


def unread(place: str, node: Any, known: Iterable[str]) -> Iterator[Fault]:
    """Keys of a dict that its reader does not know."""
    if node is None:
        return
    if not isinstance(node, Mapping):
        yield Fault(place, f"must be a dict, not {node!r}")
        return
    for key in node:
        if key not in known and key != "_scope_":
            yield Fault(f"{place}.{key}", f"nothing reads '{key}'{did_you_mean(key, known)}")


def call_faults(
    place: str, node: Any, kind: Callable, extra: Iterable[str] = ()
) -> Iterator[Fault]:
    """Arguments that a class or function does not take, or not of that kind."""
    if not isinstance(node, Mapping):
        yield from unread(place, node, ())
        return
    signature = signature_of(kind)
    for key, value in node.items():
        if key in ("type", "_scope_", *extra):
            continue
        argument = signature.arguments.get(key)
        if argument is not None:
            if key not in MISANNOTATED and (text := wrong_kind(value, argument)):
                yield Fault(f"{place}.{key}", text)
        elif not signature.open or nearest(key, signature.arguments):
            text = f"{kind.__name__} takes no '{key}'"
            yield Fault(f"{place}.{key}", text + did_you_mean(key, {*signature.arguments, *extra}))


def converted_keys(scheduler: Any) -> set[str]:
    """What a scheduler takes for epochs alone, before it is built for steps."""
    build = getattr(scheduler, "build_iter_from_epoch", None)
    return set(inspect.signature(build).parameters) if build is not None else set()


def wrong_kind(value: Any, argument: Argument) -> str | None:
    """What is wrong about the kind of a value, by the annotation or the default of an argument."""
    annotation = argument.annotation
    if annotation is EMPTY and type(argument.default) in (int, float):
        annotation = float
    if value is None or admits(annotation, value):
        return None
    kinds = kinds_of(annotation) or ()
    words = " or ".join(text for name, text in KINDS.items() if name in kinds)
    return f"must be {words}, not {value!r}"


#: A class that only its building can find.
UNKNOWN: Final = object()


@dataclass(frozen=True)
class Parts:
    """The parts of a section of a config, that classes of some registries are built from.

    Attributes:
        names: of the registries.
        scope: of the framework.
    """

    names: Registries
    scope: str

    def faults(
        self, place: str, node: Any, owner: Any = None, scope: str | None = None
    ) -> Iterator[Fault]:
        """The faults of a part and of everything inside it.

        Args:
            place: dotted key of the part.
            node: its config.
            owner: the class that it is an argument of.
            scope: of the part, where it is not that of the section.
        """
        key = place.rpartition(".")[2]
        if isinstance(node, (list, tuple)):
            for index, child in enumerate(node):
                yield from self.faults(f"{place}.{index}", child, owner, scope)
            return
        if not isinstance(node, Mapping):
            plain = isinstance(node, (str, int, float)) or (node is None and key.isdigit())
            if plain and TYPED.fullmatch(place):
                yield Fault(place, f"must be a dict with a type, not {node!r}")
            return
        scope = node.get("_scope_", scope or self.scope)
        kind = self.kind_at(place, node, scope)
        if kind is None and node.get("type") is None:
            yield Fault(place, "lacks its type")
        elif kind is None:
            yield self.unknown(f"{place}.type", node["type"], scope)
        elif kind is not UNKNOWN:
            taken = {k for name in self.names for k in TAKEN_FROM.get(name, ())}
            if node.get("convert_to_iter_based"):
                taken |= converted_keys(kind)
            yield from call_faults(place, node, kind, taken | TAKEN_AT.get(key, set()))
            if getattr(kind, "__name__", "") in FOREIGN:
                return
        elif key in READ_BY_OWNER and owner is not None:
            yield from unread(place, node, keys_of(owner, key) | CARRIED.get(key, set()))
        for name, child in node.items():
            yield from self.faults(f"{place}.{name}", child, kind, scope)

    def kind_at(self, place: str, node: Mapping[str, Any], scope: str) -> Any:
        """The class of a part; `UNKNOWN` for a dict that none is built from; None: it has to."""
        key = place.rpartition(".")[2]
        if "type" not in node:
            name = DEFAULT_TYPES.get(place)
            if place == "train_cfg" and "by_epoch" in node:
                name = f"{'Epoch' if node['by_epoch'] else 'Iter'}BasedTrainLoop"
            if name is not None:
                return self.find(name, scope)
            return None if TYPED.fullmatch(place) or place == "train_cfg" else UNKNOWN
        if UNREGISTERED.fullmatch(key):
            return UNKNOWN
        return self.find(node["type"], scope)

    def find(self, name: Any, scope: str) -> Any:
        """The class or function that a config means by a type.

        Returns:
            None where there is none, `UNKNOWN` for what is in no registry of ours: a dotted name or
            another framework's.
        """
        if not isinstance(name, str):
            return name if callable(name) else UNKNOWN if name is None else None
        prefix, dot, rest = name.partition(".")
        if dot and prefix in ("mmdet", "mmseg", "mmengine", "mmcv") and "." not in rest:
            scope, name = prefix, rest
        elif dot:
            return UNKNOWN
        for registry in registries(self.names, scope):
            if name in registry.module_dict:
                return registry.module_dict[name]
        return getattr(mmcv.ops, name, None)

    def unknown(self, place: str, name: Any, scope: str) -> Fault:
        """A type that none of the registries has."""
        known = {
            name for registry in registries(self.names, scope) for name in registry.module_dict
        }
        return Fault(place, f"nothing called '{name}' exists{did_you_mean(name, known)}")


@cache
def registries(names: Registries, scope: str) -> tuple[Registry, ...]:
    """The registries of a framework, each before the one it inherits from, filled."""
    if scope in SCOPES:
        register_modules(scope)
    module = import_module(f"{scope if scope in SCOPES else 'mmengine'}.registry")
    found = []
    for name in names:
        root = getattr(import_module("mmengine.registry"), name)
        registry = getattr(module, name, root)
        while registry is not None:
            registry.import_from_location()
            found.append(registry)
            registry = registry.parent
    return tuple(found)
