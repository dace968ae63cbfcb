"""A planned model before it runs: its config, options and hashes, its images and parameters."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS

from casvit_dense import zoo
from casvit_dense.config.backbone import with_backbone
from casvit_dense.config.read import read_config, register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.config.shapes import shape_model
from casvit_dense.config.tree import evaluators, leaf_datasets, weight_parts
from casvit_dense.engine.checks import loggers_disabled
from casvit_dense.engine.record import describe_dataset, leaves
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions
from casvit_dense.reproduce.plan import PlannedModel, Settings
from casvit_dense.results.hashes import ConfigHashes, digest, plain

#: The name in ``--data-root`` of a data set by its type in configs.
NAMES = {spec.type: name for name, spec in zoo.DATASETS.items()}


@dataclass(frozen=True)
class Recipe:
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
        datasets = [list(leaf_datasets(self.cfg[loader].dataset)) for loader in loaders]
        heads = {key: part for key, part in self.cfg.model.items() if key.endswith("_head")}
        return digest(plain([datasets, list(evaluators(self.cfg)), heads], frozenset()))


def recipe_of(model: PlannedModel, settings: Settings) -> Recipe:
    """Reads a model's config and applies its options; a `UserError` says what is wrong."""
    # Read once: bases from mmdet take half a second each time.
    cfg = with_backbone(read_config(model.config), model.backbone)
    options = options_of(model, cfg, settings)
    training = resolve(cfg, options)
    evaluation = resolve(cfg, RunOptions(cfg_options=dict(model.cfg_options)))
    return Recipe(options, training.config, evaluation.hashes, training.hashes)


def options_of(model: PlannedModel, cfg: Config, settings: Settings) -> RunOptions:
    """The options of a model's training.

    The global batch stays the recipe's where the GPUs can share it evenly, the learning rate
    follows it where they cannot, and overrides of the plan prevail.
    """
    root = model.data_root or settings.data_roots.get(dataset_name(cfg))
    file = None if model.from_scratch else weight_file(model, cfg, settings)
    return RunOptions(
        backbone=model.backbone,
        from_scratch=model.from_scratch,
        data_root=None if root is None else str(root),
        pretrained=None if file is None else str(file),
        cfg_options={**batch_overrides(cfg, settings.gpus), **model.cfg_options},
    )


def dataset_name(cfg: Config) -> str:
    """Name in ``--data-root`` of the data set that a config trains on; empty for others."""
    types = (dataset.get("type") for dataset in leaf_datasets(cfg.train_dataloader.dataset))
    return NAMES.get(next(types, ""), "")


def batch_overrides(cfg: Config, gpus: int) -> dict[str, float]:
    """Overrides by which some GPUs train with the recipe's global batch, or nearly so."""
    base = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    steps = cfg.optim_wrapper.get("accumulative_counts", 1)
    batch = gpus * cfg.train_dataloader.batch_size * steps
    if base is None or batch == base:
        return {}
    if base % (gpus * steps) == 0:
        return {"train_dataloader.batch_size": base // (gpus * steps)}
    return {"optim_wrapper.optimizer.lr": cfg.optim_wrapper.optimizer.lr * batch / base}


def weight_file(model: PlannedModel, cfg: Config, settings: Settings) -> Path | None:
    """The weight file in place of the config's, if another is asked for."""
    named = weight_parts(cfg.model.backbone)
    if model.pretrained is not None or settings.pretrained is None or not named:
        return model.pretrained
    return settings.pretrained / Path(named[-1].checkpoint).name


class Known(NamedTuple):
    """A figure and where it is from."""

    value: float
    source: str


@dataclass(frozen=True)
class DataFacts:
    """What was read of a training or a test set.

    Attributes:
        images: of one epoch of a training set, after its filters; the published number where the
            data cannot be read.
        own_images: of its files, as checkpoints record it: a wrapper may repeat them in an epoch.
            None where the data cannot be read.
        annotations_sha256: hash of a test set's annotations; None where they cannot be read.
        problem: why files that are there cannot be read; else empty.
    """

    images: Known | None = None
    own_images: int | None = None
    annotations_sha256: str | None = None
    problem: str = ""


def count_images(cfg: Config) -> DataFacts:
    """Counts the images that a resolved config trains on."""
    return read_dataset(
        cfg,
        without_pipelines(cfg.train_dataloader.dataset),
        lambda data: DataFacts(Known(len(data), "counted"), sum(map(len, leaves(data)))),
        DataFacts(published_images(cfg)),
    )


def read_truth(cfg: Config) -> DataFacts:
    """Reads the annotations of a resolved config's test set."""
    return read_dataset(
        cfg,
        cfg.test_dataloader.dataset,
        lambda data: DataFacts(annotations_sha256=describe_dataset(data).annotations_sha256),
        DataFacts(),
    )


def read_dataset(
    cfg: Config, dataset: ConfigDict, read: Callable[[Any], DataFacts], unread: DataFacts
) -> DataFacts:
    """What ``read`` finds in a data set; ``unread``, with the problem, where files are damaged.

    Missing files are no problem here: the check of the data reports them, with their flag.
    """
    register_quietly(cfg)
    try:
        with quietly():
            return read(DATASETS.build(dataset))
    except OSError:
        return unread
    except Exception as error:  # what the parsers raise for damaged files is their own affair
        leaf = next(iter(leaf_datasets(dataset)))
        file = Path(leaf.get("data_root") or "", leaf.get("ann_file") or "")
        if isinstance(error, UserError) and not file.is_file():
            return unread
        problem = f"the data in {file} cannot be read: {' '.join(str(error).split())}"
        return replace(unread, problem=problem)


def without_pipelines(dataset: ConfigDict) -> ConfigDict:
    """A copy without pipelines, which the number of images does not depend on."""
    copy = deepcopy(dataset)
    for leaf in leaf_datasets(copy):
        leaf.pipeline = []
    return copy


def published_images(cfg: Config) -> Known | None:
    """The published number of images, if a config trains on the whole of a public data set."""
    dataset = cfg.train_dataloader.dataset
    spec = zoo.DATASETS.get(NAMES.get(dataset.get("type"), ""))
    path = dataset.get("ann_file") or (dataset.get("data_prefix") or {}).get("img_path")
    part = dataset.get("metainfo") or dataset.get("indices")
    if spec is None or part or path != spec.training_path:
        return None
    annotated, all_images = spec.training_images
    filtered = (dataset.get("filter_cfg") or {}).get("filter_empty_gt")
    return Known(annotated, spec.training_source) if filtered or annotated == all_images else None


def count_parameters(cfg: Config) -> tuple[int, int]:
    """Bytes of a resolved model's parameters and buffers, and how many parameters are trained.

    Raises:
        UserError: the model cannot be built.
    """
    try:
        with quietly():
            model = shape_model(cfg)
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{cfg.filename} cannot be built: {error}") from error
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    return size, sum(p.numel() for p in model.parameters() if p.requires_grad)


@contextmanager
def quietly() -> Iterator[None]:
    """Silences the frameworks: what is built here is only counted."""
    with loggers_disabled(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def register_quietly(cfg: Config) -> None:
    """Fills the registries for a config, without a notice about the one before."""
    with quietly():
        register_scope(cfg)
