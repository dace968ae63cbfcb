"""What takes the place of a plain model: its fused or folded form, or an exported file."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch import nn

from casvit_dense.casvit import CASViT
from casvit_dense.deploy import fold_in_training, fuse
from casvit_dense.engine.options import RunOptions
from casvit_dense.engine.preflight import class_names
from casvit_dense.engine.prepare import leaf_datasets
from casvit_dense.errors import UserError
from casvit_dense.export.description import read_description
from casvit_dense.export.model import check_origin, check_overrides


def put_exported(cfg: Config, file: str | Path, options: RunOptions) -> None:
    """Puts an exported file in the place of the config's model.

    Raises:
        UserError: the file does not belong to the config, or an option has no effect on it.
    """
    if options.launcher != "none":
        raise UserError("an exported file is evaluated by one process; leave --launcher out")
    if options.fuse:
        raise UserError("an exported file has the form that it was exported in; leave --fuse out")
    check_overrides(options.cfg_options)
    dataset = next(leaf_datasets(cfg.test_dataloader.dataset))
    classes = class_names(dataset, DATASETS.get(f"{cfg.default_scope}.{dataset.type}"))
    check_origin(read_description(Path(file)), cfg.filename, classes)
    cfg.model = dict(type="ExportedModel", file=str(file))


def put_folded(model: Any, aim: str) -> None:
    """Gives a model's backbone its training form.

    Raises:
        UserError: as `fold`.
    """
    fold(model.backbone, aim)


def fold(backbone: nn.Module, aim: str) -> None:
    """Gives a backbone its training form.

    Raises:
        UserError: the backbone is another one, or its BatchNorm learns statistics.
    """
    if not isinstance(backbone, CASViT):
        raise UserError(f"--fold is for CASViT; the backbone is {type(backbone).__name__}")
    if not backbone.norm_eval:
        raise UserError(
            "--fold needs fixed statistics, and BatchNorm learns here (norm_eval=False, as by "
            "--from-scratch); leave --fold out"
        )
    try:
        fold_in_training(backbone, recompute=aim == "memory")
    except ValueError as error:
        raise UserError(f"--fold {aim}: {error}") from error


def put_fused(runner: Runner) -> None:
    """Puts the fused form in the place of the runner's model, inside its distributed wrapper."""
    fused = fuse(unwrapped(runner.model))
    if is_model_wrapper(runner.model):
        runner.model.module = fused
    else:
        runner.model = fused


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, without its distributed wrapper."""
    return model.get_submodule("module") if is_model_wrapper(model) else model
