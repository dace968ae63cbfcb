"""Top-1 and top-5 accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

#: Names of the figures, in percent.
TOP_1, TOP_5 = "top1", "top5"


@METRICS.register_module()
class TopAccuracy(BaseMetric):
    """Share of images whose class is the likeliest, or among the five likeliest, in percent.

    Attributes:
        per_class: top-1 of each class, NaN for one without an image.
    """

    def __init__(self, collect_device: str = "cpu", prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)
        self.per_class: dict[str, dict[str, float]] = {}

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Notes label and five likeliest classes of each image."""
        for sample in data_samples:
            likeliest = sample["scores"].topk(min(5, len(sample["scores"]))).indices
            self.results.append((int(sample["gt_label"]), likeliest.tolist()))

    def compute_metrics(self, results: list[tuple[int, list[int]]]) -> dict[str, float]:
        """The figures over all images."""
        labels = np.array([label for label, _ in results])
        first = np.array([label == found[0] for label, found in results])
        fifth = np.array([label in found for label, found in results])
        names = (self.dataset_meta or {}).get("classes") or ()
        self.per_class = {
            TOP_1: {
                name: float(100 * first[labels == number].mean())
                if (labels == number).any()
                else float("nan")
                for number, name in enumerate(names)
            }
        }
        return {TOP_1: float(100 * first.mean()), TOP_5: float(100 * fifth.mean())}
