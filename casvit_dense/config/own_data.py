"""A person's own data in a config: ``--data PATH`` found, converted, and put into every place."""

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from mmengine.config import Config, ConfigDict

from casvit_dense.config.check import apply_overrides
from casvit_dense.config.flags import check_flags, flag_of
from casvit_dense.config.machine import work_dir_of
from casvit_dense.config.read import check_dense
from casvit_dense.config.tree import LOADERS, dicts_in, evaluators, heads_of, leaf_datasets
from casvit_dense.data.coco_file import read_coco
from casvit_dense.data.description import DataDescription, Split, SplitName, Task
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.convert import materialise
from casvit_dense.data.layouts.describe import describe
from casvit_dense.errors import UserError, shortlist
from casvit_dense.files import is_file
from casvit_dense.options import ABOUT_DATA, RunOptions
from casvit_dense.progress import counted

#: The resolved description of a run, in its folder.
DATA_FILE: Final = "data.yaml"

TASKS: Final[dict[str, Task]] = {"mmdet": "detection", "mmseg": "segmentation"}

#: Modules that register what is put into a config, by task.
MODULES: Final = {
    "detection": ("casvit_dense.engine.coco_metric",),
    "segmentation": ("casvit_dense.engine.iou_metric", "casvit_dense.engine.index_maps"),
}


@dataclass(frozen=True)
class OwnData:
    """Data that were found for a run.

    Attributes:
        description: what they are, in files that training reads.
        tested: the split that evaluations use: test where it has truth, else val, else train.
        messages: what the user should be told.
    """

    description: DataDescription
    tested: SplitName
    messages: tuple[str, ...]


def find_data(
    cfg: Config, options: RunOptions, training: bool, truth: bool = True
) -> OwnData | None:
    """Finds out what lies at ``--data`` and converts it where it must be; None without the flag.

    Args:
        cfg: config as it was read, whose task the data must have.
        training: the run trains; else it evaluates.
        truth: evaluations need annotations.

    Raises:
        UserError: flags contradict each other, the data are of another task, are not what the
            config's model can use, or have no split for the run.
    """
    check_flags(options)
    if options.data is None:
        for name in ABOUT_DATA:
            if getattr(options, name) is not None:
                raise UserError(f"{flag_of(name)} is for --data PATH; give that, too")
        return None
    apply_overrides(deepcopy(cfg), options.cfg_options)  # mistakes are said before data are read
    check_dense(cfg, "--data")
    task = TASKS.get(cfg.get("default_scope") or "")
    if task is None:
        raise UserError(f"{cfg.filename}: default_scope must be {' or '.join(TASKS)} for --data")
    findings = Findings()
    as_it_lies = describe(options.data, replace(options, task=task), findings)
    check_task(cfg, as_it_lies, task, options.data)
    # Converted files of other data, of an earlier evaluation, say, are left alone.
    digest = hashlib.sha256(as_it_lies.model_dump_json().encode()).hexdigest()
    folder = (work_dir_of(cfg, options) / "data" / digest[:8]).absolute()
    description = materialise(as_it_lies, folder, findings)
    findings.raise_errors()
    usable = annotated(description)
    if training and "train" not in usable:
        raise UserError(
            f"{options.data}: no annotated split for training, only "
            f"{shortlist(list(description.splits))}; casvit-dense data describe shows what was "
            "found, and a description (.yaml) can say it"
        )
    tested = tested_split(description, truth)
    if not training and tested == "train":
        raise UserError(
            f"{options.data}: neither test nor val with annotations, only "
            f"{shortlist(list(description.splits))}; --split 0.8 divides train by seed"
        )
    classes = description.classes
    found = f"{options.data}: {task}, {as_it_lies.layout}, {counted(len(classes), 'class')} "
    lines = [f"{found}({shortlist(classes)})"] + [f"evaluated on {tested}"] * (not training)
    faults = [fault.lines()[0] for fault in findings.all()]
    return OwnData(description, tested, (*lines, *faults, *findings.notes))


def check_task(cfg: Config, description: DataDescription, task: str, path: Path) -> None:
    """Refuses data that a config's model cannot learn."""
    if description.task != task:
        others = {
            "detection": "a detector's config (configs/retinanet, configs/mask_rcnn)",
            "segmentation": "a segmenter's config (configs/sem_fpn)",
        }
        raise UserError(
            f"{path}: data for {description.task}, and {cfg.filename} is for {task}; take "
            f"{others[description.task]}"
        )
    kinds = [kind for metric in evaluators(cfg) for kind in metric.get("metric") or ()]
    learns_masks = "segm" in kinds or any(name.endswith("mask_head") for name, _ in heads_of(cfg))
    if learns_masks and task == "detection" and not description.masks:
        stem = Path(cfg.filename).stem
        named = cfg.filename.replace("mask-rcnn", "retinanet").replace("mask_rcnn", "retinanet")
        if named == cfg.filename or not is_file(Path(named)):
            named = "a config of RetinaNet"
        raise UserError(
            f"{path}: has boxes and no masks, and {stem} learns masks; train boxes by {named}"
        )


def tested_split(description: DataDescription, truth: bool) -> SplitName:
    """The split to evaluate on: test, else val, with truth where that is needed."""
    order: tuple[SplitName, ...] = ("test", "val")
    usable = annotated(description)
    for name in order:
        if name in usable and (not truth or has_truth(usable[name], description)):
            return name
    return "train"


def annotated(description: DataDescription) -> dict[SplitName, Split]:
    """The splits that have a file or a folder of truth."""
    splits = description.splits
    return {name: split for name, split in splits.items() if split.annotations is not None}


def has_truth(split: Split, description: DataDescription) -> bool:
    """Whether a split holds truth; COCO's test images have a file without annotations."""
    if description.task == "segmentation":
        return True
    file = read_coco(split.truth, Findings())
    return file is not None and bool(file.annotations)


# ---- into a config


def apply_data(cfg: Config, data: OwnData) -> None:
    """Puts data into loaders, evaluators and heads; pipelines stay the recipe's."""
    description = data.description
    modules = MODULES[description.task]
    imports = cfg.setdefault("custom_imports", ConfigDict(allow_failed_imports=False))
    for module in modules:
        import_module(module)
    names = imports.get("imports") or []
    names = [names] if isinstance(names, str) else list(names)
    imports.imports = [*names, *(module for module in modules if module not in names)]
    for _, head in heads_of(cfg):
        if "num_classes" in head:
            head.num_classes = len(description.classes)
    used: Mapping[str, SplitName] = {"train": "train", "val": "val", "test": data.tested}
    for key in LOADERS:
        part = key.removesuffix("_dataloader")
        split = annotated(description).get(used[part])
        if cfg.get(key) is None:
            continue
        if split is None:
            for name in (key, f"{part}_cfg", f"{part}_evaluator"):
                cfg[name] = None
            continue
        dataset = dataset_of(description, split)
        set_dataset(cfg[key], dataset, part != "train", description.masks)
        if part != "train":
            cfg[f"{part}_evaluator"] = evaluator_of(cfg, f"{part}_evaluator", description, split)


def dataset_of(description: DataDescription, split: Split) -> dict[str, Any]:
    """The data set of a split, without what the recipe decides."""
    metainfo = {"classes": tuple(description.classes)}
    images = str(split.images.absolute())
    if description.task == "detection":
        return dict(
            type="CocoDataset",
            metainfo=metainfo,
            ann_file=str(split.truth.absolute()),
            data_prefix=dict(img=images),
        )
    return dict(
        type="IndexMapDataset",
        metainfo=metainfo,
        ann_file=str(split.files.absolute()) if split.files is not None else "",
        data_prefix=dict(img_path=images, seg_map_path=str(split.truth.absolute())),
        img_suffix=description.image_suffix,
        seg_map_suffix=description.map_suffix,
        reduce_zero_label=description.reduce_zero_label,
        ignore_label=description.ignore_label,
    )


def set_dataset(
    loader: ConfigDict, dataset: Mapping[str, Any], evaluated: bool, masks: bool
) -> None:
    """Puts a data set in the place of the first one of a loader, inside its wrappers but joins.

    Args:
        masks: its objects have masks.
    """
    leaves = list(leaf_datasets(loader.dataset))
    if len(leaves) > 1:
        loader.dataset = leaves[0]
    leaf = leaves[0]
    kept = {key: leaf[key] for key in ("pipeline", "filter_cfg", "indices") if key in leaf}
    leaf.clear()
    leaf.update(dataset, **kept)
    if evaluated:
        leaf.test_mode = True
    for step in dicts_in(leaf.get("pipeline")):
        if not str(step.get("type")).endswith("LoadAnnotations"):
            continue
        if "reduce_zero_label" in dataset:
            step.reduce_zero_label = dataset["reduce_zero_label"]
        elif step.get("with_mask") and not masks:  # of a recipe that only loads them
            step.with_mask = False


def evaluator_of(
    cfg: Config, key: str, description: DataDescription, split: Split
) -> dict[str, Any]:
    """The metric of a split, with the kinds of figures that the recipe has."""
    before: ConfigDict = next(evaluators(cfg, [key]), ConfigDict())
    if description.task == "segmentation":
        return dict(type="DenseIoUMetric", iou_metrics=before.get("iou_metrics", ["mIoU"]))
    return dict(
        type="DenseCocoMetric",
        ann_file=str(split.truth.absolute()),
        metric=before.get("metric", ["bbox"]),
    )
