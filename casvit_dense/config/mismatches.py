"""Data that are not those which a config or a checkpoint was made for: said, not guessed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from casvit_dense.config.tree import leaf_datasets
from casvit_dense.errors import UserError, shortlist
from casvit_dense.zoo import DENSE_DATASETS


def compare_classes(
    known: Sequence[str] | None, classes: Sequence[str], checkpoint: str | Path
) -> list[str]:
    """What a reader should know where a checkpoint was trained for other classes than the data's.

    Args:
        known: class names of the checkpoint; None: it has none.
        classes: of the data.

    Raises:
        UserError: their numbers differ, so that the checkpoint cannot be evaluated on the data.
    """
    if known is None or not classes or list(known) == list(classes):  # folders name their own
        return []
    if len(known) != len(classes):
        raise UserError(
            f"{checkpoint} knows {len(known)} classes ({shortlist(known)}), config and data have "
            f"{len(classes)} ({shortlist(classes)}); a checkpoint trained here knows its config: "
            "give it alone, with --data PATH for other data of its classes"
        )
    if sorted(known) == sorted(classes):
        return [
            f"the checkpoint has the classes in another order ({shortlist(known)}) than the data "
            f"({shortlist(classes)}), and labels are compared by number"
        ]
    pairs = [f"{a} / {b}" for a, b in zip(known, classes, strict=True) if a != b]
    return [
        f"{len(pairs)} of {len(classes)} classes have other names in the checkpoint than in the "
        f"data, and labels are compared by number: {shortlist(pairs)}"
    ]


def same_as_training(cfg: Config) -> list[str]:
    """A remark where the test set of a config is its training set."""

    def places(key: str) -> list[tuple[Any, ...]]:
        loader = cfg.get(key)
        leaves = leaf_datasets(loader.dataset) if loader else ()
        return [
            tuple(leaf.get(name) for name in ("data_root", "ann_file", "data_prefix", "indices"))
            for leaf in leaves
        ]

    if any(place in places("train_dataloader") for place in places("test_dataloader")):
        return ["the test data are the training data: the figures say nothing of other images"]
    return []


def foreign_data(cfg: Config, loader: str, dataset: Any) -> list[str]:
    """What a user should know of a recipe for public data on data that are not these.

    Args:
        loader: key of the loader.
        dataset: its data set, built.
    """
    leaves = list(leaf_datasets(cfg[loader].dataset))
    for spec in DENSE_DATASETS.values():
        published = [leaf for leaf in leaves if leaf.type == spec.type and not leaf.get("metainfo")]
        if not published or published[0].get("indices") is not None:
            continue
        low, high = spec.training_images if loader == "train_dataloader" else (spec.images,) * 2
        if not low <= len(dataset) <= high:
            leaf = published[0]
            place = leaf.get("data_root") or leaf.get("ann_file")
            return [
                f"the config is for {spec.name} and its {spec.classes} classes, and the "
                f"{len(dataset):,} images in {place} are not all of it; for data of your own give "
                "--data PATH, which sets classes, heads and metrics"
            ]
    return []
