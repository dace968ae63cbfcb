"""Checks of a run's data before its first step: against disk, heads and evaluators."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from mmengine.config import Config, ConfigDict

from casvit_dense.config.dataset import ConfigDataset
from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.config.tree import LOADERS, dicts_in, evaluators, heads_of, leaf_datasets
from casvit_dense.data.checks.balance import balance
from casvit_dense.data.checks.check import check_split
from casvit_dense.data.checks.coco import Use
from casvit_dense.data.checks.images import check_shared, note_unlisted
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.files import IMAGE_SUFFIXES
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
    images: dict[str, Sequence[Path]] = {}
    for key in LOADERS:
        if cfg.get(key) is not None and cfg[key].dataset not in checked:  # val and test are one
            for name, found in check_loader(cfg, key, findings, sample=None, deep=deep).items():
                if found not in images.values():
                    images[name] = found
            checked.append(cfg[key].dataset)
    check_shared(images, findings)
    note_unlisted(images, findings)


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
) -> dict[str, Sequence[Path]]:
    """Checks the data of one loader, see `check_config`; returns the images of each data set."""
    images = {}
    name = key.removesuffix("_dataloader")
    for number, config in enumerate(leaf_datasets(cfg[key].dataset)):
        dataset = ConfigDataset(cfg, config)
        if dataset.kind is None:
            raise UserError(f"{cfg.filename}: {key} names an unknown data set '{config.type}'")
        check_heads(cfg, dataset.classes, f"{key} ({config.type})")
        split = name if number == 0 else f"{name} {number + 1}"
        images[split] = _check_files(dataset, split, findings, sample, deep, truth)
        if split in findings.splits:
            findings.splits[split]["num_classes"] = len(dataset.classes)
    check_evaluator(cfg, key)
    return images


def _check_files(
    dataset: ConfigDataset,
    name: str,
    findings: Findings,
    sample: int | None,
    deep: bool,
    truth: bool,
) -> Sequence[Path]:
    """Checks the files of a kind of data set that we know; returns its images."""
    images, config = dataset.images, dataset.config
    for step in dicts_in(config.get("pipeline")):
        check_images_decodable(images, step.get("imdecode_backend", "cv2"))
    if not images.is_dir():
        raise UserError(
            f"no image folder {images}; --data-root says where the data of a recipe are, and "
            "--data where your own are"
        )
    description = dataset.describe()
    if description is None:
        return []
    use = Use()
    if description.task == "detection":
        loads = [step for step in dicts_in(config.pipeline) if "with_mask" in step]
        filters = {} if config.get("test_mode") else config.get("filter_cfg") or {}
        use = Use(
            classes=dataset.classes,
            more_categories=bool(config.get("metainfo")),
            masks=any(step.with_mask for step in loads),
            min_size=filters.get("min_size", 0),
            keeps_empty=not filters.get("filter_empty_gt", False),
            truth=truth,
        )
    split = description.splits["train"]
    return check_split(name, split, description, use, findings, deep, sample)


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
    datasets = [ConfigDataset(cfg, config) for config in leaf_datasets(cfg[loader].dataset)]
    truths = [file.resolve() for dataset in datasets if (file := dataset.ann_file)]
    evaluator = loader.replace("_dataloader", "_evaluator")
    for metric in evaluators(cfg, [evaluator]):
        ann_file = metric.get("ann_file")
        if ann_file and Path(ann_file).resolve() not in truths:
            raise UserError(
                f"{evaluator}.ann_file is {ann_file}, but the data set of {loader} is "
                f"{', '.join(map(str, truths))}; set both"
            )


def check_images_decodable(folder: Path, decoder: str) -> None:
    """Looks for images that a decoder cannot read."""
    if decoder != "turbojpeg":
        return
    other = next((path for path in folder.rglob("*") if path.suffix.lower() in NO_JPEG), None)
    if other is not None:
        raise UserError(f"image decoder turbojpeg reads JPEG alone, and there is {other}")
