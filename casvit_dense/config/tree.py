"""Finding the parts of a config."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def walk(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a part of a config with its dotted key, outermost first."""
    yield place, node
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, Mapping):
        children = list(node.items())
    elif isinstance(node, (list, tuple)):
        children = enumerate(node)
    for key, child in children:
        yield from walk(child, f"{place}.{key}" if place else str(key))


def dicts_in(node: Any) -> Iterator[ConfigDict]:
    """Every dict inside a part of a config, outermost first."""
    return (part for _, part in walk(node) if isinstance(part, dict))


def parts_of(section: Any) -> list[Any]:
    """The parts of a section that may name one alone."""
    return list(section) if isinstance(section, (list, tuple)) else [section] if section else []


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
    return (metric for key in keys for metric in parts_of(cfg.get(key)))


def heads_of(cfg: Config) -> Iterator[tuple[str, ConfigDict]]:
    """Every head of a model but the one for proposals, with its name in the config."""
    for place, part in walk(cfg.model):
        found = re.fullmatch(r"(?:.+\.)?(\w+_head)(\.\d+)?", place)
        if found and found[1] != "rpn_head" and isinstance(part, dict) and part:
            yield f"model.{found[1]}", part


def weight_parts(backbone: ConfigDict) -> list[ConfigDict]:
    """The initialisers of a backbone's config that name a weight file."""
    parts = dicts_in(backbone.get("init_cfg"))
    return [part for part in parts if part.get("checkpoint") is not None]
