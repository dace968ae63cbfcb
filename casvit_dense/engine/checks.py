"""Checks of weights, backbone and data before the first step of a run."""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_from_file
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, MODELS
from torch import nn

from casvit_dense.casvit import ARCHS, CASViT
from casvit_dense.checkpoint import init_strictly, read_checkpoint
from casvit_dense.checkpoint.formats import BACKBONE, read_weights
from casvit_dense.data.check_coco import check_coco
from casvit_dense.data.check_maps import check_maps
from casvit_dense.data.description import DataDescription, Split
from casvit_dense.data.findings import Findings
from casvit_dense.deploy import fold_in_training
from casvit_dense.doctor import Check, Status
from casvit_dense.engine.config import register_scope, resolve
from casvit_dense.engine.config_tree import dicts_in, evaluators, leaf_datasets, weight_parts
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions

MODEL_ZOO = "https://github.com/Tianfang-Zhang/CAS-ViT/blob/main/MODEL_ZOO.md"

WEIGHTS_HINT = (
    "give the path by --pretrained FILE (or save it under that name), or train with --from-scratch"
)

#: Formats that turbojpeg cannot read, by suffix.
NO_JPEG = {".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}

#: Maps of a split that are read before a run; `check_maps` reads all without this number.
MAPS_READ = 1000

#: Shape of the image that a backbone is tried on: two cells of the coarsest map.
IMAGE = (1, 3, 64, 64)


def check_training(config: str | Path, options: RunOptions) -> list[Check]:
    """Config, weights and data of a training, by the checks that a training begins with."""
    try:
        cfg = resolve(config, options).config
        register_scope(cfg)
    except UserError as error:
        return [Check("config", Status.FAIL, str(error))]

    def weights() -> str:
        if not cfg.get("load_from"):
            check_weights(cfg)
        dry_run_backbone(cfg, options.fold)
        return first_weights(cfg)

    def data(loader: str) -> str:
        return "; ".join(check_data(cfg, [loader])) or "files were not checked"

    parts = {"weights": weights}
    if cfg.get("train_dataloader") is not None:
        parts["training data"] = partial(data, "train_dataloader")
    if cfg.get("val_dataloader") is not None:
        parts["validation data"] = partial(data, "val_dataloader")
    checks = [Check("config", Status.OK, str(config))]
    for name, check in parts.items():
        try:
            checks.append(Check(name, Status.OK, check()))
        except UserError as error:
            checks.append(Check(name, Status.FAIL, str(error)))
    return checks


def first_weights(cfg: Config) -> str:
    """Where the weights that a training begins with come from."""
    if cfg.get("load_from"):
        return f"{cfg.load_from} ({'resumed' if cfg.resume else 'of the whole model'})"
    files = [part.checkpoint for part in weight_parts(cfg.model.backbone)]
    return f"{files[-1]} (backbone)" if files else "random"


def check_weights(cfg: Config, hint: str = WEIGHTS_HINT) -> None:
    """Checks the backbone's weight files before anything is built, and notes their prefix.

    Args:
        hint: what to do with a file that was downloaded, for the message that it is missing.
    """
    backbone = cfg.model.backbone
    for part in weight_parts(backbone):
        file = part.checkpoint
        if Path(file).expanduser().is_dir():
            raise UserError(f"{file} is a folder; give the weight file in it")
        if not Path(file).expanduser().is_file():
            what = "the backbone's weights (docs/peers.md has the addresses of the peers')"
            arch = backbone.get("arch")  # a name, or depths and widths
            if backbone.type == "CASViT" and isinstance(arch, str) and arch in ARCHS:
                what = f"the ImageNet file of CAS-ViT '{arch}' from {MODEL_ZOO}"
            raise UserError(f"no pretrained weights at {file}. Download {what} and {hint}")
        read_checkpoint(file)  # a damaged file should not show after everything was built
        if part.get("type") == "Pretrained" and part.get("prefix") in (None, BACKBONE):
            # Classifiers of OpenMMLab and whole dense models have the prefix, others do not.
            names = read_weights(file, casvit=False).state
            part.prefix = BACKBONE if any(name.startswith(BACKBONE) for name in names) else None


def dry_run_backbone(cfg: Config, fold_for: str | None) -> list[str]:
    """Builds, runs, fills and folds the backbone alone, so that it fails before data are read.

    The run repeats this by the same code on the same file: what is strict here is strict there,
    also for backbones that only log what does not fit.

    Args:
        cfg: resolved config after `check_weights`; its framework's registries must be filled.

    Returns:
        What was loaded, for backbones that do not log it themselves.
    """
    files = [part.checkpoint for part in weight_parts(cfg.model.backbone)]
    try:
        backbone: nn.Module = MODELS.build(deepcopy(cfg.model.backbone))
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{cfg.filename} cannot be built: {error}") from error
    check_channels(cfg, backbone)
    lines = []
    if files:
        with loggers_disabled():
            report = init_strictly(backbone, files[-1])
        lines = [] if isinstance(backbone, CASViT) else [str(report)]
    if fold_for is not None:
        fold(backbone, fold_for)
    return lines


def check_channels(cfg: Config, backbone: nn.Module) -> None:
    """Compares the maps that a backbone returns with those that what follows it expects."""
    readers = list(map_readers(cfg))
    if not readers:
        return
    tried = deepcopy(backbone)
    tried.eval()  # not chained: of some mmdet backbones it returns None
    with torch.no_grad():
        maps = tried(torch.zeros(IMAGE))
    found = [feature_map.shape[1] for feature_map in maps]
    for name, channels, indices in readers:
        there = indices is None or all(-len(found) <= i < len(found) for i in indices)
        if not there or channels != (found if indices is None else [found[i] for i in indices]):
            chosen = "" if indices is None else f" of the maps {indices}"
            raise UserError(
                f"{cfg.filename}: the backbone returns maps of {found} channels, and "
                f"{name}.in_channels says {channels}{chosen}"
            )


def map_readers(cfg: Config) -> Iterator[tuple[str, list[int], list[int] | None]]:
    """Who reads the backbone's maps: the neck, or without one the heads of a segmenter.

    Returns:
        Name in the config, channels, and indices of the maps that are read; None: all of them.
    """
    necks = cfg.model.get("neck")
    if necks:
        channels = (necks[0] if isinstance(necks, (list, tuple)) else necks).get("in_channels")
        if isinstance(channels, (list, tuple)):
            yield "model.neck", list(channels), None
    elif cfg.get("default_scope") == "mmseg":
        for name, head in heads_of(cfg):
            channels, indices = head.get("in_channels"), head.get("in_index")
            if isinstance(channels, (list, tuple)):
                yield name, list(channels), None if indices is None else list(indices)
            elif channels is not None:
                yield name, [channels], [-1 if indices is None else indices]


def heads_of(cfg: Config) -> Iterator[tuple[str, ConfigDict]]:
    """Every head of a model but the one for proposals, with its name in the config."""
    for part in dicts_in(cfg.model):
        for key, value in part.items():
            if key.endswith("_head") and key != "rpn_head":
                for head in value if isinstance(value, (list, tuple)) else [value]:
                    if head:
                        yield f"model.{key}", head


@contextmanager
def loggers_disabled() -> Iterator[None]:
    """Silences initialisers, whose messages the run would repeat."""
    logger = MMLogger.get_current_instance()
    before, logger.disabled = logger.disabled, True
    try:
        with redirect_stdout(StringIO()):  # mmseg's MSCAN prints
            yield
    finally:
        logger.disabled = before


def fold(backbone: nn.Module, fold_for: str) -> None:
    """Gives a backbone its training form."""
    if not isinstance(backbone, CASViT):
        raise UserError(f"--fold is for CASViT; the backbone is {type(backbone).__name__}")
    if not backbone.norm_eval:
        raise UserError(
            "--fold needs fixed statistics, and BatchNorm learns here (norm_eval=False, as by "
            "--from-scratch); leave --fold out"
        )
    try:
        fold_in_training(backbone, recompute=fold_for == "memory")
    except ValueError as error:
        raise UserError(f"--fold {fold_for}: {error}") from error


def check_data(cfg: Config, loaders: Iterable[str]) -> list[str]:
    """Checks the data sets of some loaders against each other, the disk and the model's heads.

    Returns a line for each data set: what it is and how many images it holds.

    Args:
        cfg: resolved config; its framework's registries must be filled.
    """
    lines = []
    for key in loaders:
        if cfg.get(key) is None:
            continue
        loader = key.removesuffix("_dataloader")
        for dataset in leaf_datasets(cfg[key].dataset):
            kind = DATASETS.get(f"{cfg.default_scope}.{dataset.type}")
            if kind is None:
                raise UserError(f"{cfg.filename}: {key} names an unknown data set '{dataset.type}'")
            classes = class_names(dataset, kind)
            check_heads(cfg, classes, f"{key} ({dataset.type})")
            images = _check_files(dataset, kind, classes, evaluated=key != "train_dataloader")
            if images is not None:
                lines.append(f"{loader}: {images} images, {len(classes)} classes")
        check_evaluator(cfg, key)
    return lines


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
            root / (prefix.get("img") or ""),
            classes,
            allow_more=bool(dataset.get("metainfo")),
            needs_masks=any(step.with_mask for step in loads),
            evaluated=evaluated,
        )
    maps = prefix.get("seg_map_path")
    if "BaseSegDataset" in bases and maps and not dataset.get("ann_file"):
        description = DataDescription(
            task="segmentation",
            layout="maps",
            classes=list(classes),
            splits={"train": Split(images=images, annotations=root / maps)},
            image_suffix=setting(dataset, kind, "img_suffix"),
            map_suffix=setting(dataset, kind, "seg_map_suffix"),
            reduce_zero_label=reduces_zero_label(dataset, kind),
        )
        findings = Findings()
        check_maps(description.splits["train"], description, "train", findings, sample=MAPS_READ)
        if findings.errors():
            raise UserError("\n".join(line for f in findings.errors() for line in f.lines()))
        return int(findings.splits["train"]["images"])
    return None


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
