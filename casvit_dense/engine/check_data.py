"""Checks of a run's data before its first step: against disk, heads and evaluators."""

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS

from casvit_dense.data.checks.balance import balance
from casvit_dense.data.checks.check import check_split
from casvit_dense.data.checks.coco import Use
from casvit_dense.data.description import IGNORE_LABEL, DataDescription, Split, SplitName
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.files import IMAGE_SUFFIXES
from casvit_dense.engine.config import register_scope, resolve
from casvit_dense.engine.config_tree import LOADERS, dicts_in, evaluators, heads_of, leaf_datasets
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions
from casvit_dense.progress import counted

#: Formats that turbojpeg cannot read, by suffix.
NO_JPEG: Final = (IMAGE_SUFFIXES | {".gif"}) - {".jpg", ".jpeg"}

#: Image files of a split that are looked into before a run; ``data check`` looks into all.
LOOKED_INTO: Final = 256


def check_config(
    config: Path, findings: Findings, data_root: str | None = None, deep: bool = False
) -> None:
    """Checks all data of a config as its training and its evaluations would read them.

    Args:
        data_root: folder of the data, in place of the config's.
        deep: decode every image as a whole, not only its header.

    Raises:
        UserError: the config cannot be read, or its heads, evaluators and classes disagree.
    """
    cfg = resolve(config, RunOptions(data_root=data_root)).config
    register_scope(cfg)
    checked: list[ConfigDict] = []
    for key in LOADERS:
        if cfg.get(key) is not None and cfg[key].dataset not in checked:  # val and test are one
            check_loader(cfg, key, findings, sample=None, deep=deep)
            checked.append(cfg[key].dataset)


def check_data(cfg: Config, loaders: Iterable[str], truth: bool = True) -> list[str]:
    """Checks the data sets of some loaders against each other, the disk and the model's heads.

    Args:
        cfg: resolved config; its framework's registries must be filled.
        truth: annotations are needed.

    Returns:
        A line for each data set, with what its loader keeps; then warnings and notes.

    Raises:
        UserError: with every fault of the data that would stop the run or give wrong figures.
    """
    findings = Findings()
    for key in loaders:
        if cfg.get(key) is not None:
            check_loader(cfg, key, findings, sample=LOOKED_INTO, truth=truth)
    findings.raise_errors()
    return [
        *(
            f"{name}: {balance(facts)}, {counted(facts['num_classes'], 'class')}"
            for name, facts in findings.splits.items()
        ),
        *(found.lines()[0] for found in findings.all()),
        *findings.notes,
    ]


def check_loader(
    cfg: Config,
    key: str,
    findings: Findings,
    sample: int | None,
    deep: bool = False,
    truth: bool = True,
) -> None:
    """Checks the data of one loader; see `check_config`."""
    name = key.removesuffix("_dataloader")
    for number, dataset in enumerate(leaf_datasets(cfg[key].dataset)):
        kind = DATASETS.get(f"{cfg.default_scope}.{dataset.type}")
        if kind is None:
            raise UserError(f"{cfg.filename}: {key} names an unknown data set '{dataset.type}'")
        classes = class_names(dataset, kind)
        check_heads(cfg, classes, f"{key} ({dataset.type})")
        split = name if number == 0 else f"{name} {number + 1}"
        _check_files(dataset, kind, classes, split, findings, sample, deep, truth)
        if split in findings.splits:
            findings.splits[split]["num_classes"] = len(classes)
    check_evaluator(cfg, key)


def _check_files(
    dataset: ConfigDict,
    kind: Any,
    classes: Sequence[str],
    name: str,
    findings: Findings,
    sample: int | None,
    deep: bool,
    truth: bool,
) -> None:
    """Checks the files of a kind of data set that we know."""
    images = image_folder(dataset)
    for step in dicts_in(dataset.get("pipeline")):
        check_images_decodable(images, step.get("imdecode_backend", "cv2"))
    if not images.is_dir():
        raise UserError(
            f"no image folder {images}; --data-root says where the data of a recipe are, and "
            "--data where your own are"
        )
    description = described(dataset, kind, classes)
    if description is None:
        return
    use = Use()
    if description.task == "detection":
        loads = [step for step in dicts_in(dataset.pipeline) if "with_mask" in step]
        filters = {} if dataset.get("test_mode") else dataset.get("filter_cfg") or {}
        use = Use(
            classes=classes,
            more_categories=bool(dataset.get("metainfo")),
            masks=any(step.with_mask for step in loads),
            min_size=filters.get("min_size", 0),
            keeps_empty=not filters.get("filter_empty_gt", False),
            truth=truth,
        )
    check_split(name, description.splits["train"], description, use, findings, deep, sample)


def image_folder(dataset: ConfigDict) -> Path:
    """Where a data set has its images."""
    prefix = dataset.get("data_prefix") or {}
    return Path(dataset.get("data_root") or "", prefix.get("img") or prefix.get("img_path") or "")


def described(
    dataset: ConfigDict, kind: Any, classes: Sequence[str], name: SplitName = "train"
) -> DataDescription | None:
    """A data set of a config as a description of one split; None: of a kind that we do not know."""
    root, prefix = Path(dataset.get("data_root") or ""), dataset.get("data_prefix") or {}
    bases = {base.__name__ for base in kind.__mro__}
    images = image_folder(dataset)
    if "CocoDataset" in bases and "LVISV05Dataset" not in bases:  # LVIS names no files
        split = Split(images=images, annotations=root / dataset.ann_file)
        return DataDescription(
            task="detection", layout="coco", classes=list(classes), splits={name: split}
        )
    maps, names = prefix.get("seg_map_path"), dataset.get("ann_file")
    if "BaseSegDataset" in bases and maps and (not names or "IndexMapDataset" in bases):
        files = root / names if names else None
        return DataDescription(
            task="segmentation",
            layout="maps",
            classes=list(classes),
            splits={name: Split(images=images, annotations=root / maps, files=files)},
            image_suffix=setting(dataset, kind, "img_suffix"),
            map_suffix=setting(dataset, kind, "seg_map_suffix"),
            reduce_zero_label=reduces_zero_label(dataset, kind),
            ignore_label=dataset.get("ignore_label", IGNORE_LABEL),
        )
    return None


def class_names(dataset: ConfigDict, kind: type) -> Sequence[str]:
    """Class names of a data set: its own ``metainfo`` (or a file named there) or its type's."""
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
    """Compares ``num_classes`` of every head with the classes of a data set."""
    for _, head in heads_of(cfg):
        count = head.get("num_classes")
        if count is not None and count != len(classes):
            raise UserError(
                f"{where} has {len(classes)} classes, but {head.get('type')} is built for {count}; "
                "set num_classes of the head or metainfo.classes of the data set"
            )


def check_evaluator(cfg: Config, loader: str) -> None:
    """Compares the truth that an evaluator reads with that of its loader's data set."""
    truths = [
        Path(dataset.get("data_root") or "", dataset.ann_file).resolve()
        for dataset in leaf_datasets(cfg[loader].dataset)
        if dataset.get("ann_file")
    ]
    evaluator = loader.replace("_dataloader", "_evaluator")
    for metric in evaluators(cfg, [evaluator]):
        ann_file = metric.get("ann_file")
        if ann_file and Path(ann_file).resolve() not in truths:
            raise UserError(
                f"{evaluator}.ann_file is {ann_file}, but the data set of {loader} is "
                f"{', '.join(map(str, truths))}; set both"
            )


def reduces_zero_label(dataset: ConfigDict, kind: Any) -> bool:
    """Whether label 0 means unlabelled, by the pipeline, the data set or its type."""
    steps = [step for step in dicts_in(dataset.pipeline) if step.get("type") == "LoadAnnotations"]
    flags = [step.reduce_zero_label for step in steps if step.get("reduce_zero_label") is not None]
    return any(flags) if flags else bool(setting(dataset, kind, "reduce_zero_label"))


def setting(dataset: ConfigDict, kind: Any, name: str) -> Any:
    """An argument of a data set: as configured, else the default of its type or of a base."""
    if name in dataset:
        return dataset[name]
    for base in kind.__mro__:
        parameter = inspect.signature(base.__init__).parameters.get(name)
        if parameter is not None:
            return parameter.default
    return None


def check_images_decodable(folder: Path, decoder: str) -> None:
    """Looks for images that a decoder cannot read."""
    if decoder != "turbojpeg":
        return
    other = next((path for path in folder.rglob("*") if path.suffix.lower() in NO_JPEG), None)
    if other is not None:
        raise UserError(f"image decoder turbojpeg reads JPEG alone, and there is {other}")
