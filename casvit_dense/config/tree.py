"""Finding the parts of a config."""

from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.config import Config, ConfigDict

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


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
