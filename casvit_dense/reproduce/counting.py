"""What an estimate needs to count: images of a training set, parameters of a model."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, MODELS

from casvit_dense.engine.checks import silence
from casvit_dense.engine.config import register_scope
from casvit_dense.engine.config_tree import leaf_datasets
from casvit_dense.engine.record import leaves
from casvit_dense.errors import UserError
from casvit_dense.reproduce.estimate import Known

#: Images that the recipes train on, by type of the data set.
PUBLISHED = {
    # 118,287 of train2017, of which 1,021 have no object.
    "CocoDataset": Known(117_266, "https://github.com/cocodataset/cocoapi/issues/76"),
    "ADE20KDataset": Known(20_210, "https://github.com/CSAILVision/sceneparsing"),
}
#: The same data sets' files, by which they are known where they are not there.
COCO_FILE = "annotations/instances_train2017.json"
ADE_FOLDER = "images/training"


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps the frameworks from talking: what is built here is only counted."""
    with silence(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def enter_scope(cfg: Config) -> None:
    """Fills the registries for a config, without a word about the one before."""
    with quietly():
        register_scope(cfg)


def training_set(cfg: Config) -> ConfigDict:
    """The training set without its pipeline, which its length does not depend on."""
    dataset = deepcopy(cfg.train_dataloader.dataset)
    for leaf in leaf_datasets(dataset):
        leaf.pipeline = []
    return dataset


class Images(NamedTuple):
    """Images of a training set after its filters.

    Attributes:
        epoch: of one epoch; the published number where the data are not there.
        own: of its files, as checkpoints record it: a wrapper may repeat them in an epoch. None
            where the data are not there.
    """

    epoch: Known | None
    own: int | None


def count_images(cfg: Config) -> Images:
    """Counts the images that a prepared config trains on."""
    enter_scope(cfg)
    try:
        with quietly():
            dataset = DATASETS.build(training_set(cfg))
            return Images(Known(len(dataset), "counted"), sum(map(len, leaves(dataset))))
    except (OSError, UserError):
        return Images(published_images(cfg), None)


def published_images(cfg: Config) -> Known | None:
    """The published number, if it is the whole data set that a config trains on."""
    dataset = cfg.train_dataloader.dataset
    found = PUBLISHED.get(dataset.get("type"))
    filters = dataset.get("filter_cfg") or {}
    prefix = dataset.get("data_prefix") or {}
    whole = not (dataset.get("metainfo") or dataset.get("indices"))
    coco = dataset.get("ann_file") == COCO_FILE and filters.get("filter_empty_gt")
    ade = not dataset.get("ann_file") and prefix.get("img_path") == ADE_FOLDER
    return found if whole and (coco or ade) else None


def count_parameters(cfg: Config) -> tuple[int, int]:
    """Bytes of a model's parameters and buffers, and how many parameters train.

    Args:
        cfg: prepared config.

    Raises:
        UserError: the model cannot be built.
    """
    enter_scope(cfg)
    try:
        with torch.device("meta"), quietly():
            model = MODELS.build(deepcopy(cfg.model))
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{cfg.filename} cannot be built: {error}") from error
    held = sum(tensor.nbytes for tensor in model.state_dict().values())
    return held, sum(p.numel() for p in model.parameters() if p.requires_grad)
