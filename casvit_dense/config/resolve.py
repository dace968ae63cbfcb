"""From a config file and a user's options to the config that runs, and its hashes."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

from casvit_dense.config.backbone import with_backbone
from casvit_dense.config.check import apply_overrides
from casvit_dense.config.flags import check_flags
from casvit_dense.config.machine import (
    apply_machine_options,
    check_decoder,
    move_data_root,
    world_size,
)
from casvit_dense.config.own_data import OwnData, apply_data
from casvit_dense.config.read import read_config
from casvit_dense.config.schedule import apply_schedule
from casvit_dense.config.tree import LOADERS, dicts_in, weight_parts
from casvit_dense.errors import UserError
from casvit_dense.options import AMP_DTYPES, NO_AMP, RunOptions
from casvit_dense.results.hashes import ConfigHashes, hashes_of


@dataclass(frozen=True)
class ResolvedConfig:
    """A config with the options of a run applied.

    Attributes:
        config: what runs on this machine.
        hashes: of the recipe, with every option that changes it and none that only this machine
            needs.
        messages: what the user of a training should be told.
        recipe: what the hashes are of, as plain values, with the places of the data.
    """

    config: Config
    hashes: ConfigHashes
    messages: tuple[str, ...]
    recipe: Mapping[str, Any]


def resolve(
    source: str | Path | Config, options: RunOptions, data: OwnData | None = None
) -> ResolvedConfig:
    """Applies the options of a run to a config: first the recipe's, then the machine's.

    Args:
        source: config file, or its content as `read_config` returned it, which stays as it is.
        options: see `RunOptions`.
        data: what `find_data` found at ``--data``.

    Raises:
        UserError: unknown file, misspelt key, or an option that the config or this machine
            cannot serve.
    """
    check_flags(options)
    cfg = deepcopy(source) if isinstance(source, Config) else read_config(source)
    cfg = with_backbone(cfg, options.backbone)
    apply_overrides(cfg, options.cfg_options)
    messages = apply_recipe_options(cfg, options, data)
    if options.data_root is not None:
        move_data_root(cfg, options.data_root)
    recipe = cfg.to_dict()
    hashes = hashes_of(recipe)
    if options.init is not None:  # more than mmengine would load, and less
        cfg.load_from = None
    move_older_key(cfg)
    apply_machine_options(cfg, options)
    return ResolvedConfig(cfg, hashes, tuple(messages), recipe)


def apply_recipe_options(
    cfg: Config, options: RunOptions, data: OwnData | None = None
) -> list[str]:
    """Applies every option that changes what a model learns or which figures it reaches.

    Returns what the user of a training should be told.
    """
    if data is not None:
        apply_data(cfg, data)
    apply_schedule(cfg, options)
    messages = set_from_scratch(cfg) if options.from_scratch else []
    if options.init is not None:
        if cfg.get("load_from"):
            raise UserError("--init and load_from are two beginnings of one training; give one")
        cfg.load_from = options.init
    if options.pretrained is not None:
        set_pretrained(cfg, options.pretrained)
    if options.image_decoder is not None:
        set_image_decoder(cfg, options.image_decoder)
    if options.amp is not None:
        set_amp(cfg, options.amp)
    scale = options.auto_scale_lr or bool((cfg.get("auto_scale_lr") or {}).get("enable"))
    return messages + scale_learning_rate(
        cfg, world_size(options.launcher), scale, rate_is_given=options.lr is not None
    )


def set_from_scratch(cfg: Config) -> list[str]:
    """Takes the pretrained weights out and lets BatchNorm of the backbone train.

    Returns what the user should be told.
    """
    backbone = cfg.model.backbone
    clear_older_key(cfg)
    backbone.init_cfg = None
    if "frozen_stages" in backbone:
        backbone.frozen_stages = -1  # random weights that never learn are of no use
    if backbone.type != "CASViT" and "norm_eval" not in backbone:
        return ["from scratch: the backbone has no pretrained weights"]
    backbone.norm_eval = False
    return [
        "from scratch: the backbone has no pretrained weights and its BatchNorm is trained "
        "(norm_eval=False), since frozen random statistics cannot learn"
    ]


def set_pretrained(cfg: Config, file: str) -> None:
    """Puts a weight file in the place of the config's; how it is read stays the config's."""
    backbone = cfg.model.backbone
    clear_older_key(cfg)
    if backbone.type == "CASViT":
        backbone.init_cfg = dict(type="CASViTWeights", checkpoint=file)
        return
    parts = weight_parts(backbone)
    for part in parts:
        part.checkpoint = file
    if not parts:
        backbone.init_cfg = dict(type="Pretrained", checkpoint=file)


def clear_older_key(cfg: Config) -> None:
    """Removes files named by the frameworks' older key ``pretrained``."""
    for part in (cfg.model, cfg.model.backbone):
        if isinstance(part.get("pretrained"), str):
            part.pretrained = None


def move_older_key(cfg: Config) -> None:
    """Moves a file named by the frameworks' older key ``pretrained`` to ``init_cfg``."""
    for part in (cfg.model, cfg.model.backbone):
        if isinstance(part.get("pretrained"), str):
            cfg.model.backbone.init_cfg = dict(type="Pretrained", checkpoint=part.pretrained)
    clear_older_key(cfg)


def set_image_decoder(cfg: Config, decoder: str) -> None:
    """Names the library that decodes the images of every loader.

    Decoders differ by a grey level here and there, and so do the figures.
    """
    parts = dicts_in([cfg.get(key) for key in LOADERS])
    steps = [step for step in parts if step.get("type") == "LoadImageFromFile"]
    if not steps:
        raise UserError(f"--image-decoder: no pipeline of {cfg.filename} has a LoadImageFromFile")
    check_decoder(cfg, decoder)
    for step in steps:
        step.imdecode_backend = decoder


def set_amp(cfg: Config, precision: str) -> None:
    """Sets mixed precision: mmengine's ``AmpOptimWrapper``, or takes it out.

    fp16 needs its loss scaled; bf16 has the range of fp32.
    """
    if precision == NO_AMP:
        cfg.optim_wrapper.type = "OptimWrapper"
        for key in ("dtype", "loss_scale", "use_fp64"):
            cfg.optim_wrapper.pop(key, None)
        return
    if precision not in AMP_DTYPES:
        raise UserError(f"--amp {precision}: choose from {', '.join((*AMP_DTYPES, NO_AMP))}")
    if not torch.cuda.is_available():
        raise UserError("--amp needs a GPU; this machine shows none to torch. Leave the flag out")
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    if precision == "fp16":
        cfg.optim_wrapper.loss_scale = "dynamic"
        return
    if not torch.cuda.is_bf16_supported():
        raise UserError("--amp bf16: this GPU computes no bfloat16; give --amp fp16")
    cfg.optim_wrapper.dtype = AMP_DTYPES[precision]
    cfg.optim_wrapper.loss_scale = dict(enabled=False)


def check_amp(cfg: Config) -> None:
    """Looks whether this machine has the GPU that a training in mixed precision needs.

    Raises:
        UserError: it has none.
    """
    if cfg.optim_wrapper.get("type") == "AmpOptimWrapper" and not torch.cuda.is_available():
        raise UserError(
            f"{cfg.filename} trains in mixed precision, which needs a GPU; this machine shows none "
            f"to torch. --amp {NO_AMP} trains in fp32, another recipe"
        )


def scale_learning_rate(
    cfg: Config, processes: int, scale: bool, rate_is_given: bool = False
) -> list[str]:
    """Scales the learning rate where asked; otherwise says when the batch is not the recipe's."""
    base = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    batch = (cfg.get("train_dataloader") or {}).get("batch_size")
    optim_wrapper = cfg.get("optim_wrapper") or ConfigDict()
    optimizer: ConfigDict = optim_wrapper.get("optimizer") or ConfigDict()
    if base is None or batch is None or "lr" not in optimizer:
        if scale:
            raise UserError(
                f"--auto-scale-lr: {cfg.filename} must set auto_scale_lr.base_batch_size, "
                "train_dataloader.batch_size and optim_wrapper.optimizer.lr"
            )
        return []
    # Not left to mmengine, which does not count accumulated steps.
    cfg.auto_scale_lr.enable = False
    steps = optim_wrapper.get("accumulative_counts", 1)
    real, lr = processes * batch * steps, optimizer.lr
    if real == base or rate_is_given:
        return []
    counted = f"{processes} process{'es' * (processes > 1)} x {batch} images"
    counted += f" x {steps} steps" * (steps > 1)
    if scale:
        optimizer.lr = lr * real / base
        return [
            f"global batch is {real} ({counted}), the recipe's {base}: lr {lr:g} -> "
            f"{optimizer.lr:g}"
        ]
    return [
        f"global batch is {real} ({counted}), the recipe's is {base}, and lr stays {lr:g}; "
        "--auto-scale-lr scales it"
    ]
