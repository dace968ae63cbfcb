"""Figures that cannot be right, or do not mean what they seem to: said with the figure."""

import math
from collections.abc import Mapping
from typing import Final

from casvit_dense.errors import shortlist
from casvit_dense.zoo import COCO_PREFIX

#: Main metric -> (its values by class, the largest value).
MEANS: Final = {
    f"{COCO_PREFIX}bbox_mAP": ("bbox", 1.0),
    f"{COCO_PREFIX}segm_mAP": ("segm", 1.0),
    "mIoU": ("IoU", 100.0),
}


def remarks(
    metrics: Mapping[str, float], per_class: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """What a reader of an evaluation's figures must know beside them.

    Args:
        metrics: as the evaluators name them.
        per_class: by kind and class; NaN for a class without truth.
    """
    lines = []
    for name, (kind, largest) in MEANS.items():
        if name not in metrics:
            continue
        value = metrics[name]
        if not math.isfinite(value) or value < 0:
            lines.append(f"{name} does not exist: there is no truth to measure it on")
        elif value == 0:
            lines.append(
                f"{name} is exactly 0: nothing was found. Are the weights trained, and are classes "
                "and pipeline those of their training?"
            )
        elif value == largest:
            lines.append(
                f"{name} is exactly 100 %: is most of the truth ignored, or were these images "
                "trained on?"
            )
        values = per_class.get(kind, {})
        absent = [label for label, figure in values.items() if not math.isfinite(figure)]
        if absent and len(absent) < len(values):
            lines.append(
                f"{name} is the mean of {len(values) - len(absent)} of {len(values)} classes; "
                f"without truth: {shortlist(absent)}"
            )
        if len(values) - len(absent) == 1:
            lines.append(f"{name} is the figure of a single class")
    return lines
