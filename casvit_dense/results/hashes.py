"""Hashes that tell whether two results were made in the same way, on any machine and any path."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from casvit_dense.zoo import config_file

#: Sections of a config that a result depends on; the others keep records or name intermediates.
SECTIONS: Final = (
    "default_scope",
    "model",
    "train_dataloader",
    "val_dataloader",
    "test_dataloader",
    "val_evaluator",
    "test_evaluator",
    "train_cfg",
    "val_cfg",
    "test_cfg",
    "optim_wrapper",
    "param_scheduler",
    "custom_hooks",
)

#: Keys that say where data lie, how a machine reads them, and how pictures are drawn.
IGNORED: Final = frozenset(
    {
        "data_root",
        "data_prefix",
        "ann_file",
        "checkpoint",
        "backend_args",
        "file_client_args",
        "num_workers",
        "persistent_workers",
        "pin_memory",
        "prefetch_factor",
        "with_cp",
        "pretrained",
        "palette",
        "_scope_",
    }
)
#: Keys of a metric that also say where its files go, what it prints and which package computes.
IGNORED_IN_METRICS: Final = IGNORED | {
    "outfile_prefix",
    "output_dir",
    "classwise",
    "collect_device",
    "backend",
}
#: Hooks that only watch a training.
PASSIVE_HOOKS: Final = frozenset({"ProgressHook", "BackboneRecordHook", "FiniteLossHook"})

#: Decoder of images that a pipeline names or, as the default, does not.
DEFAULT_DECODER: Final = ("imdecode_backend", "cv2")


@dataclass(frozen=True)
class ConfigHashes:
    """Hashes of a config; each the SHA-256 of canonical JSON.

    Attributes:
        config: of everything that a result depends on.
        pipeline: of the test pipeline.
        recipe: of everything that trained weights depend on, without the batch size, which rows
            record separately: eight processes with four images equal four with eight.
    """

    config: str
    pipeline: str
    recipe: str


def hashes_of(cfg: Mapping[str, Any]) -> ConfigHashes:
    """The hashes of a resolved config as plain values, e.g. ``Config.fromfile(…).to_dict()``."""
    whole = {name: _section(cfg, name) for name in SECTIONS}
    test_loader = cfg.get("test_dataloader") or {}
    return ConfigHashes(
        digest(whole), pipeline_sha256(test_loader.get("dataset") or {}), digest(recipe_of(cfg))
    )


@dataclass(frozen=True)
class ZooConfig:
    """A published config: its hashes, and the images per step that its schedule is made for."""

    hashes: ConfigHashes
    global_batch: int | None


@cache
def zoo_config(stem: str) -> ZooConfig | None:
    """Reads a config of the project by its name; None if there is none.

    Needs mmengine, and mmdet where the config inherits from it, but imports neither torch nor mmdet
    itself.
    """
    from mmengine.config import Config

    path = config_file(stem)
    if path is None:
        return None
    cfg = Config.fromfile(str(path), import_custom_modules=False).to_dict()
    scaling = cfg.get("auto_scale_lr") or {}
    return ZooConfig(hashes_of(cfg), scaling.get("base_batch_size"))


def pipeline_sha256(dataset: Mapping[str, Any]) -> str:
    """The hash of a data set's pipeline, of all of them where it wraps several."""
    return digest([plain(pipeline) for pipeline in _pipelines(dataset)])


def _pipelines(dataset: Mapping[str, Any]) -> Iterable[Any]:
    if "pipeline" in dataset:
        yield dataset["pipeline"]
    inner = [dataset["dataset"]] if "dataset" in dataset else dataset.get("datasets", ())
    for part in inner:
        yield from _pipelines(part)


def _section(cfg: Mapping[str, Any], name: str) -> Any:
    value = cfg.get(name)
    if name == "custom_hooks":
        value = [
            hook
            for hook in value or ()
            if not (isinstance(hook, Mapping) and hook.get("type") in PASSIVE_HOOKS)
        ]
    return plain(value, IGNORED_IN_METRICS if name.endswith("_evaluator") else IGNORED)


def recipe_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that trained weights depend on, as plain values; see `ConfigHashes`."""

    def without(name: str, *keys: str) -> dict[str, Any]:
        section = _section(cfg, name) or {}
        return {key: value for key, value in section.items() if key not in keys}

    return {
        "model": without("model", "test_cfg"),
        "data": without("train_dataloader", "batch_size"),
        # How often a run is validated leaves its weights alone.
        "length": without("train_cfg", "val_interval", "val_begin", "dynamic_intervals"),
        "optimiser": _section(cfg, "optim_wrapper"),
        "schedule": _section(cfg, "param_scheduler"),
        "hooks": _section(cfg, "custom_hooks"),
        "from_checkpoint": bool(cfg.get("load_from")) and not cfg.get("resume"),
    }


def plain(value: Any, ignored: frozenset[str] = IGNORED) -> Any:
    """A value as JSON has it, without the keys that a result does not depend on, at any depth.

    Classes and functions become their names, ``2.0`` becomes ``2``.
    """
    if isinstance(value, Mapping):
        return {
            str(key): plain(item, ignored)
            for key, item in value.items()
            if key not in ignored and (key, item) != DEFAULT_DECODER
        }
    if isinstance(value, (list, tuple)):
        return [plain(item, ignored) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return getattr(value, "__qualname__", None) or str(value)


def digest(value: Any) -> str:
    """SHA-256 of a plain value's canonical JSON: keys sorted, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def files_sha256(files: Mapping[str, Path]) -> str:
    """One hash of several files: of the lines ``<name> <sha256 of its content>``, by name.

    The names are those that are the same on every machine.
    """
    lines = (
        f"{name} {hashlib.sha256(files[name].read_bytes()).hexdigest()}\n" for name in sorted(files)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
