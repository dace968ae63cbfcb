"""Whether predictions give the figures that their evaluation wrote down."""

import math

from casvit_dense.analysis.sources import CocoSource, Source

#: Largest difference from the evaluation's own figure; mmseg counts pixels in single precision.
TOLERANCE = {"bbox": 1e-6, "segm": 1e-6, "maps": 0.01}


def differences(source: Source, found: float | None) -> list[str]:
    """A note if AP or mIoU is not the one that the evaluation wrote down.

    Args:
        source: the predictions.
        found: AP as a fraction, or mIoU in percent; None if there was nothing to find.
    """
    kind = source.kind if isinstance(source, CocoSource) else "maps"
    metric = "mIoU" if kind == "maps" else f"coco/{kind}_mAP"
    stated = source.stated.get(metric)
    if stated is None or found is None or math.isclose(stated, found, abs_tol=TOLERANCE[kind]):
        return []
    return [
        f"{metric} is {found:.6g} here and {stated:.6g} in the evaluation: the truth "
        f"({source.truth}) or the predictions are not those that were evaluated"
    ]
