"""What can be known of the data before the first step is checked before the first step."""

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS

from casvit_dense.data.check_coco import check_coco
from casvit_dense.data.check_maps import check_maps
from casvit_dense.engine.prepare import dicts_in, evaluators, leaf_datasets
from casvit_dense.errors import UserError


def check_data(cfg: Config, loaders: Iterable[str]) -> list[str]:
    """Checks the data sets of some loaders against each other, the disk and the model's heads.

    Args:
        cfg: prepared config; its framework's registries must be filled.
        loaders: keys of dataloaders, e.g. ``('train_dataloader', 'val_dataloader')``.

    Returns:
        One line a data set: what it is and how many images it holds.

    Raises:
        UserError: the first thing that is wrong.
    """
    said = []
    for key in loaders:
        if cfg.get(key) is None:
            continue
        for dataset in leaf_datasets(cfg[key].dataset):
            kind = DATASETS.get(f"{cfg.default_scope}.{dataset.type}")
            if kind is None:
                raise UserError(f"{cfg.filename}: {key} names an unknown data set '{dataset.type}'")
            classes = class_names(dataset, kind)
            check_heads(cfg, classes, f"{key} ({dataset.type})")
            images = _check_files(dataset, kind, classes)
            if images is not None:
                said.append(f"{key}: {images} images, {len(classes)} classes")
    for metric in evaluators(cfg):
        ann_file = metric.get("ann_file")
        if ann_file and not Path(ann_file).is_file():
            raise UserError(
                f"the evaluator's annotation file {ann_file} is missing; see --data-root"
            )
    return said


def class_names(dataset: ConfigDict, kind: type) -> Sequence[str]:
    """Class names of a data set: its own ``metainfo`` or those of its type."""
    metainfo = dataset.get("metainfo") or {}
    return metainfo.get("classes") or getattr(kind, "METAINFO", {}).get("classes") or ()


def check_heads(cfg: Config, classes: Sequence[str], where: str) -> None:
    """Compares ``num_classes`` of every head with the classes of a data set.

    Raises:
        UserError: with the head and both numbers.
    """
    for part in dicts_in(cfg.model):
        count = part.get("num_classes")
        if count is not None and part.get("type") != "RPNHead" and count != len(classes):
            raise UserError(
                f"{where} has {len(classes)} classes, but {part.get('type')} is built for {count}; "
                "set num_classes of the head or metainfo.classes of the data set"
            )


def _check_files(dataset: ConfigDict, kind: Any, classes: Sequence[str]) -> int | None:
    """Number of images after the checks, or None for a kind of data set we do not know."""
    root = Path(dataset.get("data_root") or "")
    prefix = dataset.get("data_prefix") or {}
    bases = {base.__name__ for base in kind.__mro__}
    if "CocoDataset" in bases:
        return check_coco(
            root / dataset.ann_file,
            root / prefix.get("img", ""),
            classes,
            allow_more=bool(dataset.get("metainfo")),
        )
    if "BaseSegDataset" in bases and not dataset.get("ann_file"):
        return check_maps(
            root / prefix.get("img_path", ""),
            root / prefix.get("seg_map_path", ""),
            len(classes),
            reduces_zero_label(dataset, kind),
            image_suffix=dataset.get("img_suffix", ".jpg"),
            map_suffix=dataset.get("seg_map_suffix", ".png"),
        )
    return None


def reduces_zero_label(dataset: ConfigDict, kind: Any) -> bool:
    """Whether label 0 means unlabelled: said by the pipeline, the data set or its type."""
    steps = [step for step in dicts_in(dataset.pipeline) if step.get("type") == "LoadAnnotations"]
    said = [part.get("reduce_zero_label") for part in (*steps, dataset)]
    default = inspect.signature(kind.__init__).parameters.get("reduce_zero_label")
    if all(flag is None for flag in said) and default is not None:
        return bool(default.default)
    return any(said)
