"""Checks of weights and backbone before the first step of a run."""

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from torch import nn

from casvit_dense.casvit import ARCHS, CASViT
from casvit_dense.checkpoint import init_strictly, load_model, read_checkpoint
from casvit_dense.checkpoint.formats import BACKBONE, read_weights
from casvit_dense.checkpoint.start import load_start
from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.config.shapes import shape_model
from casvit_dense.config.tree import heads_of, weight_parts
from casvit_dense.config.values import REFUSALS
from casvit_dense.deploy import fold_in_training
from casvit_dense.doctor import Check, Status
from casvit_dense.engine.check_data import check_data
from casvit_dense.engine.loading import in_a_line
from casvit_dense.errors import UserError
from casvit_dense.files import check_folder
from casvit_dense.options import RunOptions

MODEL_ZOO = "https://github.com/Tianfang-Zhang/CAS-ViT/blob/main/MODEL_ZOO.md"

WEIGHTS_HINT = (
    "give the path by --pretrained FILE (or save it under that name), or train with --from-scratch"
)

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
        dry_run(cfg, options)
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
            what = "the backbone's weights (docs/peers.md and docs/backbones.md say which)"
            arch = backbone.get("arch")  # a name, or depths and widths
            if backbone.type == "CASViT" and isinstance(arch, str) and arch in ARCHS:
                what = f"the ImageNet file of CAS-ViT '{arch}' from {MODEL_ZOO}"
            raise UserError(f"no pretrained weights at {file}. Download {what} and {hint}")
        read_checkpoint(file)  # a damaged file should not show after everything was built
        if part.get("type") == "Pretrained" and part.get("prefix") in (None, BACKBONE):
            # Classifiers of OpenMMLab and whole dense models have the prefix, others do not.
            names = read_weights(file, casvit=False).state
            part.prefix = BACKBONE if any(name.startswith(BACKBONE) for name in names) else None


def dry_run(cfg: Config, options: RunOptions) -> list[str]:
    """Builds and fills the model, and runs and folds its backbone, to fail before data are read.

    The run repeats this by the same code on the same files: what is strict here is strict there,
    also for backbones that only log what does not fit.

    Args:
        cfg: resolved config after `check_weights`; its framework's registries must be filled.
        options: of the run.

    Returns:
        What was loaded, for backbones that do not log it themselves.
    """
    files = [part.checkpoint for part in weight_parts(cfg.model.backbone)]
    try:
        model: Any = MODELS.build(deepcopy(cfg.model))
    except (*REFUSALS, RuntimeError) as error:
        raise UserError(f"{cfg.filename} cannot be built: {in_a_line(error)}") from error
    backbone = model.backbone
    check_channels(cfg, backbone)
    lines = []
    with loggers_disabled():
        if files:
            report = init_strictly(backbone, files[-1])
            lines = [] if isinstance(backbone, CASViT) else [str(report)]
        if not cfg.get("resume"):  # whose state was read whole
            load_first(model, cfg, options.init)
    if options.fold is not None:
        fold(backbone, options.fold)
    return lines


def load_first(model: nn.Module, cfg: Config, init: str | None) -> str | None:
    """Fills a model with the whole model's weights that it begins with, if any, strictly.

    Args:
        init: file of a model of other classes: all but their layers is taken.

    Returns:
        What was loaded of that, for the user.
    """
    if cfg.get("load_from"):
        # mmengine loads what fits and logs the rest; another model's must not start.
        load_model(model, cfg.load_from)
    if init is None:
        return None
    report = load_start(model, init, class_layers(model, cfg))
    layers = {name.rpartition(".")[0] for name in report.initialised}
    return f"{init}: {report.matched} tensors; for other classes, new: {', '.join(sorted(layers))}"


def class_layers(model: nn.Module, cfg: Config) -> set[str]:
    """Names of the tensors whose shapes depend on the number of classes."""
    other = deepcopy(cfg)
    for _, head in heads_of(other):
        if "num_classes" in head:
            head.num_classes += 1
    shapes = {name: tensor.shape for name, tensor in shape_model(other).state_dict().items()}
    return {name for name, tensor in model.state_dict().items() if shapes[name] != tensor.shape}


def check_work_dir(cfg: Config) -> None:
    """Looks whether a run can write where it will, before anything else takes time.

    Raises:
        UserError: it cannot.
    """
    folder = Path(cfg.work_dir)
    try:
        check_folder(folder.absolute(), folder)
    except UserError as error:
        raise UserError(f"work directory {error}; give another --work-dir") from error


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
