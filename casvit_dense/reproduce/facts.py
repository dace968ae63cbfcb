"""What a model's runs are started with and what their products must say, read from its config."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config

from casvit_dense.engine.config import read_config, resolve
from casvit_dense.engine.config_tree import evaluators, leaf_datasets, weight_parts
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions
from casvit_dense.reproduce.plan import PlannedModel, Settings
from casvit_dense.results.hashes import ConfigHashes, digest, plain

#: Type of a data set -> its name in ``--data-root``.
DATA_SETS = {"CocoDataset": "coco", "ADE20KDataset": "ade20k"}


def check_settings(settings: Settings) -> None:
    """Checks what needs no config.

    Raises:
        UserError: an unknown data set, or several GPUs without a launcher.
    """
    for name in settings.data_roots:
        if name not in DATA_SETS.values():
            names = ", ".join(DATA_SETS.values())
            raise UserError(f"--data-root {name}=…: the data sets are {names}")
    if settings.launcher == "none" and settings.gpus > 1:
        raise UserError(f"--gpus {settings.gpus} needs --launcher torchrun or slurm")


def check_gpus(settings: Settings) -> None:
    """Compares the GPUs that are asked for with those of this machine, if it has any.

    Raises:
        UserError: it has fewer.
    """
    found = torch.cuda.device_count()
    if settings.launcher == "torchrun" and 0 < found < settings.gpus:
        raise UserError(
            f"--gpus is {settings.gpus}, but torch sees {found} here; give --gpus {found}, and the "
            "images of a step are shared out among them"
        )


@dataclass(frozen=True)
class Facts:
    """What all runs of a model have in common.

    Attributes:
        options: of their training, without seed and work directory. An evaluation has the same,
            with the plan's own overrides only.
        cfg: the config, resolved for training.
        evaluated, trained: hashes of the config as rows and as checkpoints record it.
    """

    options: RunOptions
    cfg: Config
    evaluated: ConfigHashes
    trained: ConfigHashes

    @property
    def weights(self) -> str:
        """The file that the backbone starts from; empty if it needs none."""
        named = [part.checkpoint for part in weight_parts(self.cfg.model.backbone)]
        return str(named[-1]) if named else ""

    def data_key(self, loaders: Iterable[str]) -> str:
        """The same for models whose data, metrics and heads are the same."""
        sets = [list(leaf_datasets(self.cfg[loader].dataset)) for loader in loaders]
        heads = {key: part for key, part in self.cfg.model.items() if key.endswith("_head")}
        return digest(plain([sets, list(evaluators(self.cfg)), heads], frozenset()))


def facts_of(model: PlannedModel, settings: Settings) -> Facts:
    """Reads a model's config.

    Raises:
        UserError: it cannot be read, or an override is wrong; see `resolve`.
    """
    cfg = read_config(model.config)  # read once: bases from mmdet cost half a second each time
    options = options_of(model, cfg, settings)
    trained = resolve(cfg, options)
    evaluated = resolve(cfg, RunOptions(cfg_options=dict(model.cfg_options)))
    return Facts(options, trained.config, evaluated.hashes, trained.hashes)


def options_of(model: PlannedModel, cfg: Config, settings: Settings) -> RunOptions:
    """The options of a model's training.

    The global batch stays the recipe's where the GPUs can share it evenly, the learning rate
    follows it where they cannot, and what the plan overrides stays as it is there.
    """
    root = model.data_root or settings.data_roots.get(data_set(cfg))
    file = None if model.from_scratch else weights(model, cfg, settings)
    return RunOptions(
        from_scratch=model.from_scratch,
        data_root=None if root is None else str(root),
        pretrained=None if file is None else str(file),
        cfg_options={**batch(cfg, settings.gpus), **model.cfg_options},
    )


def data_set(cfg: Config) -> str:
    """Name in ``--data-root`` of the data set that a config trains on; empty for others."""
    kinds = (dataset.get("type") for dataset in leaf_datasets(cfg.train_dataloader.dataset))
    return DATA_SETS.get(next(kinds, ""), "")


def batch(cfg: Config, gpus: int) -> dict[str, float]:
    """Overrides by which some GPUs train with the recipe's global batch, or as near as can be."""
    base = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    steps = cfg.optim_wrapper.get("accumulative_counts", 1)
    real = gpus * cfg.train_dataloader.batch_size * steps
    if base is None or real == base:
        return {}
    if base % (gpus * steps) == 0:
        return {"train_dataloader.batch_size": base // (gpus * steps)}
    return {"optim_wrapper.optimizer.lr": cfg.optim_wrapper.optimizer.lr * real / base}


def weights(model: PlannedModel, cfg: Config, settings: Settings) -> Path | None:
    """The weight file in place of the config's, if another is asked for."""
    named = weight_parts(cfg.model.backbone)
    if model.pretrained is not None or settings.pretrained is None or not named:
        return model.pretrained
    return settings.pretrained / Path(named[-1].checkpoint).name
