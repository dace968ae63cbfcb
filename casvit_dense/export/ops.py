"""Operators that ONNX has and torch's core lacks: non-maximum suppression and RoIAlign.

In torch they run through mmcv's kernels; in a file they are ONNX's own NonMaxSuppression and
RoiAlign (https://onnx.ai/onnx/operators/), which every runtime brings along. A ``.pt2`` file names
them ``casvit_dense::nms`` and ``casvit_dense::roi_align``; importing this module defines both.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("casvit_dense::nms", mutates_args=())
def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, max_output: int
) -> Tensor:
    """Greedy suppression among boxes of one class.

    Args:
        boxes: ``(N, 4)`` as x1, y1, x2, y2.
        scores: ``(N,)``.
        iou_threshold: a box falls where it overlaps a better one by more than this.
        score_threshold: a box takes part where its score is above this.
        max_output: at most so many are kept.

    Returns:
        Indices of the kept boxes ``(K,)``, int64, by falling score.
    """
    from mmcv.ops import nms as mmcv_nms

    candidates = (scores > score_threshold).nonzero().squeeze(1)
    if len(candidates) == 0:  # mmcv's kernel takes no empty input
        return candidates
    _, kept = mmcv_nms(boxes[candidates], scores[candidates], iou_threshold)
    return candidates[kept[:max_output]]


@nms.register_fake
def _(
    boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, max_output: int
) -> Tensor:
    kept = torch.library.get_ctx().new_dynamic_size(min=0, max=max_output)
    return boxes.new_empty(kept, dtype=torch.int64)


@torch.library.custom_op("casvit_dense::roi_align", mutates_args=())
def roi_align(
    features: Tensor, boxes: Tensor, height: int, width: int, scale: float, sampling_ratio: int
) -> Tensor:
    """Averages bilinear samples of a map over a grid on each box, pixel centres at one half.

    Args:
        features: ``(1, C, H, W)``.
        boxes: ``(N, 4)`` as x1, y1, x2, y2 in pixels of the image.
        height: rows of the grid.
        width: columns of the grid.
        scale: size of the map by size of the image.
        sampling_ratio: samples along each side of a cell; 0: as many as the cell has pixels.

    Returns:
        ``(N, C, height, width)``.
    """
    from mmcv.ops import roi_align as mmcv_roi_align

    rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1)
    if len(rois) == 0:
        return features.new_zeros(0, features.shape[1], height, width)
    # mmcv's kernel reads memory as NCHW, whatever the layout is.
    features = features.contiguous()
    return mmcv_roi_align(features, rois, (height, width), scale, sampling_ratio, "avg", True)


@roi_align.register_fake
def _(
    features: Tensor, boxes: Tensor, height: int, width: int, scale: float, sampling_ratio: int
) -> Tensor:
    return features.new_empty(boxes.shape[0], features.shape[1], height, width)


def onnx_translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """How the exporter writes both operators, for ``to_onnx(custom_ops=...)``.

    Needs onnxscript.
    """
    from onnxscript import opset18

    op: Any = opset18  # its types are narrower than what it takes while tracing

    def write_nms(
        boxes: Any, scores: Any, iou_threshold: float, score_threshold: float, max_output: int
    ) -> Any:
        selected = op.NonMaxSuppression(
            op.Unsqueeze(boxes, op.Constant(value_ints=[0])),
            op.Unsqueeze(scores, op.Constant(value_ints=[0, 1])),
            op.Constant(value_ints=[max_output]),
            op.Constant(value_floats=[iou_threshold]),
            op.Constant(value_floats=[score_threshold]),
        )
        return op.Gather(selected, op.Constant(value_int=2), axis=1)  # image, class, box

    def write_roi_align(
        features: Any, boxes: Any, height: int, width: int, scale: float, sampling_ratio: int
    ) -> Any:
        count = op.Shape(boxes, start=0, end=1)
        return op.RoiAlign(
            features,
            boxes,
            op.Expand(op.Constant(value_int=0), count),
            coordinate_transformation_mode="half_pixel",
            mode="avg",
            output_height=height,
            output_width=width,
            sampling_ratio=sampling_ratio,
            spatial_scale=scale,
        )

    return {
        torch.ops.casvit_dense.nms.default: write_nms,
        torch.ops.casvit_dense.roi_align.default: write_roi_align,
    }
