"""What a model's numbers mean: class names, colours, category ids, values of index maps."""

import colorsys
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from torch import nn

from casvit_dense.engine.checks import reduces_zero_label
from casvit_dense.engine.config_tree import leaf_datasets
from casvit_dense.errors import UserError

#: Numbers between 1 and 90 that COCO's 80 categories leave out.
COCO_GAPS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
COCO_IDS = tuple(i for i in range(1, 91) if i not in COCO_GAPS)


@dataclass(frozen=True)
class Labels:
    """The classes of a model, in the order of its outputs.

    Attributes:
        names: class names.
        palette: one RGB colour for each class, 0..255.
        ids: the number of each class in result files: COCO category ids of a detector, map
            values of a segmenter.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ids: tuple[int, ...]


def labels_of(cfg: Config, model: nn.Module, checkpoint_meta: Callable[[], Mapping]) -> Labels:
    """Names, colours and numbers of a model's classes.

    Args:
        cfg: config whose test data set describes the classes.
        model: the built model; its heads know how many classes there are.
        checkpoint_meta: gives the checkpoint's ``dataset_meta``; called only when the config
            does not name as many classes as the model has.

    Raises:
        UserError: neither source names as many classes as the model has.
    """
    dataset = test_dataset(cfg)
    dataset_class = import_module(f"{cfg.default_scope}.registry").DATASETS.get(dataset.type)
    meta = {**getattr(dataset_class, "METAINFO", {}), **(dataset.get("metainfo") or {})}
    count = num_classes(model)
    if _count_names(meta) != count:
        meta, of_config = dict(checkpoint_meta()), meta
        if _count_names(meta) != count:
            raise UserError(
                f"{cfg.filename}: the model has {count} classes, the config names "
                f"{_count_names(of_config)} and the checkpoint {_count_names(meta)}; "
                "set test_dataloader.dataset.metainfo.classes"
            )
    names = tuple(meta["classes"])
    if cfg.default_scope == "mmdet":
        ids = category_ids(names, Path(dataset.get("data_root") or "", dataset.get("ann_file", "")))
    else:
        first = int(reduces_zero_label(dataset, dataset_class))
        ids = tuple(range(first, first + count))
    return Labels(names, palette_of(meta, count), ids)


def test_dataset(cfg: Config) -> ConfigDict:
    """The data set inside the wrappers of the config's test loader; of several, the first.

    Raises:
        UserError: the config has no ``test_dataloader``.
    """
    if not cfg.get("test_dataloader"):
        raise UserError(f"{cfg.filename}: no test_dataloader, whose pipeline prepares the images")
    return next(leaf_datasets(cfg.test_dataloader.dataset))


def num_classes(model: nn.Module) -> int:
    """Classes of the final head; heads before it (proposals) have one."""
    return max((getattr(module, "num_classes", 0) for module in model.modules()), default=0)


def category_ids(names: Sequence[str], annotations: Path) -> tuple[int, ...]:
    """COCO category ids of the classes.

    Args:
        names: class names in the order of the model's outputs.
        annotations: COCO file of the data set; need not exist.

    Returns:
        The ids of the annotation file where it is there and knows every class; otherwise COCO's
        own ids for its 80 classes; otherwise 1, 2, …
    """
    if annotations.is_file():
        categories = json.loads(annotations.read_text(encoding="utf-8")).get("categories", [])
        by_name = {category["name"]: category["id"] for category in categories}
        if all(name in by_name for name in names):
            return tuple(by_name[name] for name in names)
    coco = import_module("mmdet.datasets").CocoDataset.METAINFO["classes"]
    return COCO_IDS if tuple(names) == coco else tuple(range(1, len(names) + 1))


def palette_of(meta: Mapping[str, Any], count: int) -> tuple[tuple[int, int, int], ...]:
    """The data set's colours; where it has too few, hues spread by the golden ratio."""
    palette = meta.get("palette")
    if not isinstance(palette, Sequence) or len(palette) < count:
        hues = (i * 0.618034 % 1 for i in range(count))
        palette = [[round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.75, 0.95)] for hue in hues]
    return tuple((int(r), int(g), int(b)) for r, g, b in palette[:count])


def _count_names(meta: Mapping[str, Any]) -> int:
    names = meta.get("classes", ())
    return 0 if isinstance(names, str) else len(names)
