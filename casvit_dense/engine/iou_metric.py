"""Mean intersection over union, with the value of every class."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from mmengine.registry import METRICS
from mmseg.evaluation import IoUMetric
from PIL import Image

from casvit_dense.engine.console import class_table
from casvit_dense.engine.runner import check_once_each
from casvit_dense.log import LOG


@METRICS.register_module()
class DenseIoUMetric(IoUMetric):
    """mIoU, mAcc and aAcc over all pixels of the data set, in percent.

    mmseg's metric, which counts the pixels, rounds to two digits, prints the table of 150 classes
    after every evaluation and forgets it.

    Args:
        classwise: log the values of every class.
        output_dir: the predicted maps are kept there, numbered as the data set's own.
        image_root: folder of the images: maps have their paths below it. mmseg's own names
            overwrite each other where two folders have one.
        **kwargs: those of mmseg's ``IoUMetric``.

    Attributes:
        per_class: after evaluation, percent by class name for ``IoU``, ``Acc`` and the other
            metrics asked for; NaN where a class neither occurs nor is predicted.
    """

    def __init__(
        self,
        classwise: bool = False,
        output_dir: str | None = None,
        image_root: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.classwise = classwise
        self.maps = output_dir and Path(output_dir)
        self.image_root = image_root
        self.per_class: dict[str, dict[str, float]] = {}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Counts the pixels of a batch, with each image's name; keeps the maps."""
        first = len(self.results)
        super().process(data_batch, data_samples)
        for i, sample in enumerate(data_samples, first):
            self.results[i] = (sample["img_path"], self.results[i])
            if self.maps:
                self._keep(sample, self.maps / map_name(sample["img_path"], self.image_root))

    def _keep(self, sample: Mapping[str, Any], path: Path) -> None:
        indices = sample["pred_sem_seg"]["data"].squeeze().cpu().numpy()
        if sample.get("reduce_zero_label"):
            indices = indices + 1
        bits = np.uint8 if len(self.dataset_meta["classes"]) < 256 else np.uint16
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(indices.astype(bits)).save(path)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Sums the areas of all images.

        Args:
            results: one pair (image path, areas by class) per image.

        Returns:
            ``aAcc``, ``mIoU``, ``mAcc`` and other means asked for, in percent.
        """
        check_once_each([path for path, _ in results])
        areas = [sum(parts) for parts in zip(*(counts for _, counts in results), strict=True)]
        values = self.total_area_to_metrics(*areas, self.metrics, self.nan_to_num, self.beta)
        classes = self.dataset_meta["classes"]
        self.per_class = {
            kind: dict(zip(classes, map(float, 100 * by_class), strict=True))
            for kind, by_class in values.items()
            if kind != "aAcc"
        }
        if self.classwise:
            for kind, by_name in self.per_class.items():
                LOG.info(class_table(kind, by_name))
        return {
            name if name == "aAcc" else f"m{name}": float(np.nanmean(value) * 100)
            for name, value in values.items()
        }


def map_name(image: str, root: str) -> PurePath:
    """The name of an image's map: its path below the root, or outside of it its name alone."""
    path = PurePath(os.path.relpath(image, root)) if root else PurePath(image)
    inside = root and ".." not in path.parts
    return (path if inside else PurePath(path.name)).with_suffix(".png")
