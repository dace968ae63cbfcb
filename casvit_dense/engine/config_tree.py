"""Finding the parts of a config, and checking keys, since mmengine ignores a misspelt one."""

import difflib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from casvit_dense.errors import UserError

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")

#: Top-level keys that mmengine or this package reads. Any other is a variable of the file.
KNOWN_KEYS = frozenset(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"} | {
    "compile",
    "custom_imports",
    "find_unused_parameters",
    "model_wrapper_cfg",
    "sync_bn",
}


def dicts_in(node: Any) -> Iterator[ConfigDict]:
    """Every dict inside a part of a config, outermost first."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from dicts_in(child)


def leaf_datasets(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """The data sets that read files, inside any wrappers (repeat, concatenate)."""
    if "dataset" in dataset:
        yield from leaf_datasets(dataset.dataset)
    elif "datasets" in dataset:
        for inner in dataset.datasets:
            yield from leaf_datasets(inner)
    else:
        yield dataset


def evaluators(
    cfg: Config, keys: Iterable[str] = ("val_evaluator", "test_evaluator")
) -> Iterator[ConfigDict]:
    """Every metric's config, of validation and test."""
    for key in keys:
        found = cfg.get(key) or []
        yield from found if isinstance(found, (list, tuple)) else [found]


def heads_of(cfg: Config) -> Iterator[tuple[str, ConfigDict]]:
    """Every head of a model but the one for proposals, with its name in the config."""
    for part in dicts_in(cfg.model):
        for key, value in part.items():
            if key.endswith("_head") and key != "rpn_head":
                for head in value if isinstance(value, (list, tuple)) else [value]:
                    if head:
                        yield f"model.{key}", head


def weight_parts(backbone: ConfigDict) -> list[ConfigDict]:
    """The initialisers of a backbone's config that name a weight file."""
    parts = dicts_in(backbone.get("init_cfg"))
    return [part for part in parts if part.get("checkpoint") is not None]


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that ``name`` is probably a misspelling of, if any."""
    matches = difflib.get_close_matches(name, [str(c) for c in choices], n=1, cutoff=0.85)
    return matches[0] if matches else None


def check_top_level_keys(cfg: Config) -> None:
    """Refuses a top-level key that looks like a misspelt one."""
    for key in cfg:
        meant = None if key in KNOWN_KEYS else nearest(key, KNOWN_KEYS)
        if meant is not None and meant not in cfg:
            raise UserError(
                f"{cfg.filename}: nothing reads the key '{key}'; did you mean '{meant}'?"
            )


def check_override(cfg: Config, dotted: str) -> None:
    """Refuses an override that would have no effect or looks misspelt.

    A part of a key may be new (an option that the config leaves at its default), unless it
    resembles a neighbour, or stands below a list or a plain value.

    Args:
        cfg: the config as it is before the override.
        dotted: key such as ``train_dataloader.dataset.pipeline.2.scale``.
    """
    parts = dotted.split(".")
    if parts[0] == "custom_imports":
        raise UserError(
            f"--cfg-options {dotted}: modules are imported while a config file is read; write it "
            "into a file that inherits this one"
        )
    if parts[0] not in KNOWN_KEYS:
        raise UserError(f"--cfg-options {dotted}: {_why_unread(cfg, parts[0])}")
    node: Any = cfg
    for depth, part in enumerate(parts):
        reason = _why_wrong(node, part, ".".join(parts[:depth]))
        if reason is not None:
            raise UserError(f"--cfg-options {dotted}: {reason}")
        node = node[int(part)] if isinstance(node, (list, tuple)) else node.get(part)
        if node is None:  # new from here on
            return


def _why_unread(cfg: Config, top: str) -> str:
    if top in cfg:
        return (
            f"'{top}' is a variable of the config file that nothing reads afterwards; override the "
            "place that uses it, e.g. train_dataloader.dataset.…"
        )
    meant = nearest(top, KNOWN_KEYS)
    return f"nothing reads '{top}'" + (f"; did you mean '{meant}'?" if meant else "")


def _why_wrong(node: Any, part: str, path: str) -> str | None:
    if isinstance(node, (list, tuple)):
        if part.isdigit() and int(part) < len(node):
            return None
        return f"'{path}' is a list of {len(node)}; '{part}' is not an index into it"
    if not hasattr(node, "get"):
        return f"'{path}' is {node!r}, not a dict"
    meant = None if part in node else nearest(part, node)
    return f"no key '{part}'; did you mean '{meant}'?" if meant else None
