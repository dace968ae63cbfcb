"""From a config file and a user's options to the config that runs."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

from casvit_dense.casvit import ARCHS
from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.checkpoint.formats import BACKBONE, read_weights
from casvit_dense.engine.coco_backends import load_backend
from casvit_dense.engine.image_decoder import check_decoder
from casvit_dense.engine.options import RunOptions
from casvit_dense.engine.overrides import check_override, check_top_level_keys
from casvit_dense.errors import UserError

MODEL_ZOO = "https://github.com/Tianfang-Zhang/CAS-ViT/blob/main/MODEL_ZOO.md"
CONFIG_SUFFIXES = (".py", ".json", ".yaml", ".yml")
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def read_config(path: str | Path) -> Config:
    """Reads a config file.

    Raises:
        UserError: there is no such file, or it cannot be parsed.
    """
    if not Path(path).is_file():
        raise UserError(f"no config file {path}")
    if Path(path).suffix not in CONFIG_SUFFIXES:
        raise UserError(f"{path} is no config file ({', '.join(CONFIG_SUFFIXES)}); it comes first")
    try:
        return Config.fromfile(str(path))
    except ImportError as error:  # mmengine's own words leave the cause out
        raise UserError(
            f"{path}: custom_imports: {first_cause(error)}. A module of yours must be installed or "
            "its folder be on PYTHONPATH"
        ) from error
    except Exception as error:  # a config file is a program and may raise anything
        raise UserError(f"{path}: {type(error).__name__}: {error}") from error


def first_cause(error: BaseException) -> BaseException:
    """What an error was raised from or after, and that in turn, to the first."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error


def prepare(path: str | Path, options: RunOptions) -> Config:
    """The config with everything applied that training and evaluation have in common.

    Args:
        path: config file; its stem names the work directory.
        options: see `RunOptions`.

    Raises:
        UserError: unknown file, misspelt key, or an option that this machine cannot serve.
    """
    cfg = read_config(path)
    if "model" not in cfg or "backbone" not in cfg.model:
        raise UserError(f"{path}: no config of a model with a backbone")
    check_top_level_keys(cfg)
    for dotted in options.cfg_options:
        check_override(cfg, dotted)
    cfg.merge_from_dict(options.cfg_options)
    settle_pretrained(cfg)
    if options.data_root is not None:
        move_data_root(cfg, options.data_root)
    cfg.work_dir = str(
        options.work_dir or cfg.get("work_dir") or Path("work_dirs", Path(path).stem)
    )
    if options.seed is not None and not 0 <= options.seed < 2**32:
        raise UserError(f"--seed {options.seed}: give a number from 0 to 2**32 - 1")
    if options.seed is not None or options.deterministic:
        randomness = cfg.setdefault("randomness", ConfigDict())
        randomness.deterministic = options.deterministic
        if options.seed is not None:
            randomness.seed = options.seed
    if options.coco_backend is not None:
        set_coco_backend(cfg, options.coco_backend)
    if options.image_decoder is not None:
        set_image_decoder(cfg, options.image_decoder)
    set_launcher(cfg, options.launcher)
    settle_workers(cfg)
    return cfg


def settle_pretrained(cfg: Config) -> None:
    """Brings a file named by the frameworks' older key ``pretrained`` under ``init_cfg``."""
    for part in (cfg.model, cfg.model.backbone):
        if isinstance(part.get("pretrained"), str):
            cfg.model.backbone.init_cfg = dict(type="Pretrained", checkpoint=part.pretrained)
            part.pretrained = None


def leaf_datasets(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """The data sets that read files, inside whatever wrappers (repeat, concatenate) hold them."""
    if "dataset" in dataset:
        yield from leaf_datasets(dataset.dataset)
    elif "datasets" in dataset:
        for inner in dataset.datasets:
            yield from leaf_datasets(inner)
    else:
        yield dataset


def evaluators(
    cfg: Config, keys: Iterable[str] = ("val_evaluator", "test_evaluator")
) -> Iterator[ConfigDict]:
    """Every metric's config, of validation and test."""
    for key in keys:
        found = cfg.get(key) or []
        yield from found if isinstance(found, (list, tuple)) else [found]


def move_data_root(cfg: Config, root: str) -> None:
    """Points every data set and every metric's annotation file to another folder."""
    old_roots = set()
    for key in LOADERS:
        if cfg.get(key) is not None:
            for dataset in leaf_datasets(cfg[key].dataset):
                old_roots.add(Path(dataset.get("data_root", "")))
                dataset.data_root = root
    for metric in evaluators(cfg):
        ann_file = Path(metric.get("ann_file") or "")
        for old in old_roots:
            if ann_file.is_relative_to(old) and metric.get("ann_file"):
                metric.ann_file = str(Path(root, ann_file.relative_to(old)))
                break


def set_coco_backend(cfg: Config, backend: str) -> None:
    """Names the package that evaluates boxes and masks, in validation and test.

    Raises:
        UserError: the config has no COCO metric, or the package cannot be imported.
    """
    metrics = [metric for metric in evaluators(cfg) if metric.get("type") == "DenseCocoMetric"]
    if not metrics:
        raise UserError(f"--coco-backend: {cfg.filename} has no evaluator of type DenseCocoMetric")
    load_backend(backend)
    for metric in metrics:
        metric.backend = backend


def set_image_decoder(cfg: Config, decoder: str) -> None:
    """Names the library that decodes the images of every loader.

    Raises:
        UserError: no pipeline reads images by mmcv, or the library cannot be used.
    """
    steps = [
        step
        for key in LOADERS
        for step in dicts_in(cfg.get(key))
        if step.get("type") == "LoadImageFromFile"
    ]
    if not steps:
        raise UserError(f"--image-decoder: no pipeline of {cfg.filename} has a LoadImageFromFile")
    check_decoder(cfg, decoder)
    for step in steps:
        step.imdecode_backend = decoder


def set_from_scratch(cfg: Config) -> list[str]:
    """Takes the pretrained weights out and lets BatchNorm of the backbone train.

    Returns:
        What the user should be told.
    """
    backbone = cfg.model.backbone
    backbone.init_cfg = None
    if "frozen_stages" in backbone:
        backbone.frozen_stages = -1  # random weights that never learn are of no use
    if backbone.type != "CASViT" and "norm_eval" not in backbone:
        return ["from scratch: the backbone starts from random weights"]
    backbone.norm_eval = False
    return [
        "from scratch: the backbone starts from random weights and its BatchNorm is trained "
        "(norm_eval=False), since frozen random statistics cannot learn"
    ]


def set_weights(cfg: Config, pretrained: str | None) -> None:
    """Settles where the backbone's first weights come from, before anything is built.

    Args:
        cfg: the config.
        pretrained: weight file in place of the config's.

    Raises:
        UserError: the weight file is missing or damaged.
    """
    backbone = cfg.model.backbone
    if pretrained is not None:
        name_weights(backbone, pretrained)
    for part in weight_parts(backbone):
        file = part.checkpoint
        if Path(file).expanduser().is_dir():
            raise UserError(f"{file} is a folder; give the weight file in it")
        if not Path(file).expanduser().is_file():
            what = "the backbone's weights (docs/peers.md has the addresses of the peers')"
            if backbone.type == "CASViT" and backbone.get("arch") in ARCHS:
                what = f"the ImageNet file of CAS-ViT '{backbone.get('arch')}' from {MODEL_ZOO}"
            raise UserError(
                f"no pretrained weights at {file}. Download {what} and give the path by "
                "--pretrained FILE (or save it under that name), or train with --from-scratch"
            )
        read_checkpoint(file)  # a damaged file must not cost the building of everything
        if part.get("type") == "Pretrained" and part.get("prefix") in (None, BACKBONE):
            # Classifiers of OpenMMLab and whole dense models have the prefix, others do not.
            names = read_weights(file, casvit=False).state
            part.prefix = BACKBONE if any(name.startswith(BACKBONE) for name in names) else None


def name_weights(backbone: ConfigDict, file: str) -> None:
    """Puts a weight file in the place of the config's; how it is read stays the config's."""
    if backbone.type == "CASViT":
        backbone.init_cfg = dict(type="CASViTWeights", checkpoint=file)
        return
    parts = weight_parts(backbone)
    for part in parts:
        part.checkpoint = file
    if not parts:
        backbone.init_cfg = dict(type="Pretrained", checkpoint=file)


def weight_parts(backbone: ConfigDict) -> list[ConfigDict]:
    """The initialisers of a backbone's config that name a weight file."""
    parts = dicts_in(backbone.get("init_cfg"))
    return [part for part in parts if part.get("checkpoint") is not None]


def set_precision(cfg: Config, options: RunOptions) -> None:
    """Mixed precision, where asked for.

    Raises:
        UserError: there is no GPU.
    """
    if not options.amp:
        return
    if not torch.cuda.is_available():
        raise UserError("--amp needs a GPU; this machine shows none to torch. Leave the flag out")
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.loss_scale = "dynamic"


def scale_learning_rate(cfg: Config, options: RunOptions) -> list[str]:
    """Scales the learning rate where asked; otherwise says when the batch is not the recipe's."""
    base = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    if base is None:
        if options.auto_scale_lr:
            raise UserError(
                f"--auto-scale-lr: {cfg.filename} sets no auto_scale_lr.base_batch_size"
            )
        return []
    # Not left to mmengine, which does not count accumulated steps.
    cfg.auto_scale_lr.enable = False
    processes, batch = world_size(options.launcher), cfg.train_dataloader.batch_size
    steps = cfg.optim_wrapper.get("accumulative_counts", 1)
    real = processes * batch * steps
    lr = cfg.optim_wrapper.optimizer.lr
    if real == base:
        return []
    counted = f"{processes} process(es) x {batch} images" + f" x {steps} steps" * (steps > 1)
    if options.auto_scale_lr:
        scaled = lr * real / base
        cfg.optim_wrapper.optimizer.lr = scaled
        return [f"global batch is {real} ({counted}), the recipe's {base}: lr {lr:g} -> {scaled:g}"]
    return [
        f"global batch is {real} ({counted}), the recipe's is {base}, and lr stays {lr:g}; "
        "--auto-scale-lr scales it"
    ]


def world_size(launcher: str) -> int:
    """Number of processes of this run, as the launcher's environment says."""
    variables = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS", "mpi": "OMPI_COMM_WORLD_SIZE"}
    return int(os.environ.get(variables.get(launcher, ""), 1))


def set_launcher(cfg: Config, launcher: str) -> None:
    """Settles processes and their way to talk: NCCL between GPUs, gloo between CPUs.

    Raises:
        UserError: torchrun and ``launcher`` contradict each other, or the launcher needs GPUs and
            there are none.
    """
    if launcher == "none" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("torchrun started several processes; add --launcher pytorch")
    if launcher == "pytorch" and "RANK" not in os.environ:
        raise UserError("--launcher pytorch is for torchrun; start with tools/dist_train.sh")
    cfg.launcher = launcher
    if torch.cuda.is_available():
        return
    for module in dicts_in(cfg.model):  # SyncBN has no CPU kernel
        if module.get("type") == "SyncBN":
            module.type = "BN"
    if launcher not in ("none", "pytorch"):
        raise UserError(f"--launcher {launcher} needs GPUs; on CPUs start processes by torchrun")
    if launcher == "pytorch":
        cfg.setdefault("env_cfg", ConfigDict()).dist_cfg = dict(backend="gloo")
        # DDP takes device ids of GPUs only; mmengine would pass the local rank.
        cfg.model_wrapper_cfg = dict(
            type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False
        )


def dicts_in(node: Any) -> Iterator[ConfigDict]:
    """Every dict inside a config, outermost first."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from dicts_in(child)


def settle_workers(cfg: Config) -> None:
    """Loaders without workers keep none alive: torch refuses the combination."""
    for key in LOADERS:
        loader = cfg.get(key)
        if loader is not None and loader.get("num_workers", 0) == 0:
            loader.persistent_workers = False
