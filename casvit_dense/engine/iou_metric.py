"""Mean intersection over union, with the value of every class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.registry import METRICS
from mmseg.evaluation import IoUMetric

from casvit_dense.engine.console import LOG, class_table
from casvit_dense.engine.runner import check_once_each


@METRICS.register_module()
class DenseIoUMetric(IoUMetric):
    """mIoU, mAcc and aAcc over all pixels of the data set, in percent.

    mmseg's metric, which counts the pixels, rounds to two digits, prints the table of 150 classes
    after every evaluation and forgets it.

    Args:
        classwise: log the values of every class.
        **kwargs: those of mmseg's ``IoUMetric``; with ``output_dir`` the predicted maps are kept,
            numbered as the data set's own.

    Attributes:
        per_class: after evaluation, percent by class name for ``IoU``, ``Acc`` and the other
            metrics asked for; NaN where a class neither occurs nor is predicted.
    """

    def __init__(self, classwise: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classwise = classwise
        self.per_class: dict[str, dict[str, float]] = {}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Counts the pixels of a batch; keeps each image's name with them."""
        first = len(self.results)
        super().process(data_batch, data_samples)
        for i, sample in enumerate(data_samples, first):
            self.results[i] = (sample["img_path"], self.results[i])

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
