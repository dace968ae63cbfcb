"""Checks of config keys: mmengine merges and ignores a misspelt one without a word."""

import difflib
import inspect
from collections.abc import Iterable
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from casvit_dense.errors import UserError

#: Top-level keys that mmengine or the launch code reads. Any other is a variable of the file.
KNOWN_KEYS = frozenset(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"} | {
    "compile",
    "custom_imports",
    "find_unused_parameters",
    "model_wrapper_cfg",
    "runner_type",
    "sync_bn",
    "tta_model",
    "tta_pipeline",
}


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that ``name`` is probably a misspelling of, if any."""
    matches = difflib.get_close_matches(name, [str(c) for c in choices], n=1, cutoff=0.9)
    return matches[0] if matches else None


def check_top_level_keys(cfg: Config) -> None:
    """Refuses a top-level key that looks like a misspelt one.

    Raises:
        UserError: with the key and the one that is probably meant.
    """
    for key in cfg:
        meant = None if key in KNOWN_KEYS else nearest(key, KNOWN_KEYS)
        if meant is not None and meant not in cfg:
            raise UserError(f"{cfg.filename}: nothing reads the key '{key}'; '{meant}' is meant?")


def check_override(cfg: Config, dotted: str) -> None:
    """Refuses an override that would have no effect.

    The last part of a key may be new (an option that the config leaves at its default) unless it
    looks like a misspelt neighbour; every part before it must exist.

    Args:
        cfg: the config as it is before the override.
        dotted: key such as ``train_dataloader.dataset.pipeline.2.scale``.

    Raises:
        UserError: with the part that is wrong and what is there instead.
    """
    *parents, last = dotted.split(".")
    if (parents or [last])[0] not in KNOWN_KEYS:
        raise UserError(_unread(cfg, dotted))
    node: Any = cfg
    for depth, part in enumerate(parents):
        node = _child(node, part, dotted, ".".join(parents[:depth]))
    if isinstance(node, (list, tuple)):
        _child(node, last, dotted, ".".join(parents))
    elif isinstance(node, dict) or node is cfg:
        meant = None if last in node else nearest(last, node)
        if meant is not None:
            raise UserError(f"--cfg-options {dotted}: no key '{last}'; '{meant}' is meant?")
    else:
        raise UserError(f"--cfg-options {dotted}: '{'.'.join(parents)}' is {node!r}, not a dict")


def _unread(cfg: Config, dotted: str) -> str:
    top = dotted.split(".")[0]
    if top in cfg:
        return (
            f"--cfg-options {dotted}: '{top}' is a variable of the config file that nothing reads "
            "afterwards; override the place that uses it, e.g. train_dataloader.dataset.…"
        )
    meant = nearest(top, KNOWN_KEYS)
    return f"--cfg-options {dotted}: nothing reads '{top}'" + (
        f"; '{meant}' is meant?" * bool(meant)
    )


def _child(node: Any, part: str, dotted: str, path: str) -> Any:
    if isinstance(node, (list, tuple)):
        if part.isdigit() and int(part) < len(node):
            return node[int(part)]
        raise UserError(
            f"--cfg-options {dotted}: '{path}' is a list of {len(node)}; "
            f"'{part}' is no index into it"
        )
    if hasattr(node, "get") and node.get(part) is not None:
        return node[part]
    known = ", ".join(map(str, node)) if hasattr(node, "keys") else repr(node)
    raise UserError(f"--cfg-options {dotted}: no '{part}' in '{path or 'the config'}' ({known})")
