"""What can be known of the data before the first step is checked before the first step."""

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS

from casvit_dense.data.check_coco import check_coco
from casvit_dense.data.check_maps import check_maps
from casvit_dense.engine.image_decoder import check_images_decodable
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
            images = _check_files(dataset, kind, classes, evaluated=key != "train_dataloader")
            if images is not None:
                said.append(f"{key}: {images} images, {len(classes)} classes")
        check_evaluator(cfg, key)
    return said


def class_names(dataset: ConfigDict, kind: type) -> Sequence[str]:
    """Class names of a data set: its own ``metainfo`` (or a file named there) or its type's.

    Raises:
        UserError: neither names nor a file.
    """
    metainfo = {**getattr(kind, "METAINFO", {}), **(dataset.get("metainfo") or {})}
    classes = metainfo.get("classes") or ()
    if isinstance(classes, str):
        if not Path(classes).is_file():
            raise UserError(f"metainfo.classes: no file {classes}; give names as ('a', 'b')")
        return list_from_file(classes)
    if not isinstance(classes, (list, tuple)):
        raise UserError(f"metainfo.classes is {classes!r}; give names as ('a', 'b')")
    return classes


def check_heads(cfg: Config, classes: Sequence[str], where: str) -> None:
    """Compares ``num_classes`` of every head with the classes of a data set.

    Raises:
        UserError: with the head and both numbers.
    """
    heads = [
        head
        for part in dicts_in(cfg.model)
        for key, value in part.items()
        if key.endswith("_head") and key != "rpn_head"
        for head in (value if isinstance(value, (list, tuple)) else [value])
        if head
    ]
    for head in heads:
        count = head.get("num_classes")
        if count is not None and count != len(classes):
            raise UserError(
                f"{where} has {len(classes)} classes, but {head.get('type')} is built for {count}; "
                "set num_classes of the head or metainfo.classes of the data set"
            )


def check_evaluator(cfg: Config, loader: str) -> None:
    """Compares the truth that an evaluator reads with that of its loader's data set.

    Raises:
        UserError: with both files.
    """
    truths = [
        Path(dataset.get("data_root") or "", dataset.ann_file)
        for dataset in leaf_datasets(cfg[loader].dataset)
        if dataset.get("ann_file")
    ]
    evaluator = loader.replace("_dataloader", "_evaluator")
    for metric in evaluators(cfg, [evaluator]):
        ann_file = metric.get("ann_file")
        if ann_file and Path(ann_file) not in truths:
            raise UserError(
                f"{evaluator}.ann_file is {ann_file}, but the data set of {loader} is "
                f"{', '.join(map(str, truths))}; set both"
            )


def _check_files(
    dataset: ConfigDict, kind: Any, classes: Sequence[str], evaluated: bool
) -> int | None:
    """Number of images after the checks, or None for a kind of data set we do not know."""
    root = Path(dataset.get("data_root") or "")
    prefix = dataset.get("data_prefix") or {}
    bases = {base.__name__ for base in kind.__mro__}
    images = root / (prefix.get("img") or prefix.get("img_path") or "")
    for step in dicts_in(dataset.get("pipeline")):
        check_images_decodable(images, step.get("imdecode_backend", "cv2"))
    if "CocoDataset" in bases and "LVISV05Dataset" not in bases:  # LVIS names no files
        loads = [step for step in dicts_in(dataset.pipeline) if "with_mask" in step]
        return check_coco(
            root / dataset.ann_file,
            root / prefix.get("img", ""),
            classes,
            allow_more=bool(dataset.get("metainfo")),
            needs_masks=any(step.with_mask for step in loads),
            evaluated=evaluated,
        )
    maps = prefix.get("seg_map_path")
    if "BaseSegDataset" in bases and maps and not dataset.get("ann_file"):
        return check_maps(
            root / prefix.get("img_path", ""),
            root / maps,
            len(classes),
            reduces_zero_label(dataset, kind),
            image_suffix=setting(dataset, kind, "img_suffix"),
            map_suffix=setting(dataset, kind, "seg_map_suffix"),
        )
    return None


def reduces_zero_label(dataset: ConfigDict, kind: Any) -> bool:
    """Whether label 0 means unlabelled: said by the pipeline, the data set or its type."""
    steps = [step for step in dicts_in(dataset.pipeline) if step.get("type") == "LoadAnnotations"]
    said = [flag for flag in (step.get("reduce_zero_label") for step in steps) if flag is not None]
    return any(said) if said else bool(setting(dataset, kind, "reduce_zero_label"))


def setting(dataset: ConfigDict, kind: Any, name: str) -> Any:
    """An argument of a data set: as configured, else the default of its type or of a base."""
    if name in dataset:
        return dataset[name]
    for base in kind.__mro__:
        parameter = inspect.signature(base.__init__).parameters.get(name)
        if parameter is not None:
            return parameter.default
    return None
