"""The steps between head and result of a detector, written so that they can be traced.

NMS and RoIAlign exist in ONNX but not in torch's core. In torch they run mmcv's kernels; in a file
they are ONNX's NonMaxSuppression and RoiAlign (https://onnx.ai/onnx/operators/), which every
runtime has. A ``.pt2`` file names them ``casvit_dense::nms`` and ``casvit_dense::roi_align``;
importing this module defines both. Decoding and selection follow the functions of mmdet 3 that
each docstring names.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from casvit_dense.errors import UserError


@torch.library.custom_op("casvit_dense::nms", mutates_args=())
def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, max_output: int
) -> Tensor:
    """Greedy non-maximum suppression among boxes of one class.

    Args:
        boxes: ``(N, 4)`` as x1, y1, x2, y2.
        scores: ``(N,)``.
        iou_threshold: a box is dropped if it overlaps a better one by more than this.
        score_threshold: only boxes of a higher score take part.
        max_output: at most this many are kept.

    Returns:
        Indices of the kept boxes ``(K,)``, int64, by descending score.
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
    """Averages bilinear samples of a map over a grid on each box (``aligned=True``).

    Args:
        features: ``(1, C, H, W)``.
        boxes: ``(N, 4)`` as x1, y1, x2, y2 in pixels of the image.
        height: rows of the grid.
        width: columns of the grid.
        scale: size of the map divided by that of the image.
        sampling_ratio: samples along each side of a cell; 0: as many as the cell has pixels.

    Returns:
        ``(N, C, height, width)``.
    """
    from mmcv.ops import roi_align as mmcv_roi_align

    rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1)
    if len(rois) == 0:
        return features.new_zeros(0, features.shape[1], height, width)
    # mmcv's kernel reads memory as NCHW, regardless of strides.
    features = features.contiguous()
    return mmcv_roi_align(features, rois, (height, width), scale, sampling_ratio, "avg", True)


@roi_align.register_fake
def _(
    features: Tensor, boxes: Tensor, height: int, width: int, scale: float, sampling_ratio: int
) -> Tensor:
    return features.new_empty(boxes.shape[0], features.shape[1], height, width)


def onnx_translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """ONNX translations of both operators, for ``to_onnx(custom_ops=...)``.

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


#: A box is at most this many times wider or higher than its anchor (``delta2bbox``).
LARGEST_RATIO = 1000 / 16


class BoxDecoder:
    """Anchors and regression deltas to boxes (``DeltaXYWHBBoxCoder``).

    Args:
        coder: mmdet's; its means, standard deviations and clipping apply.

    Raises:
        UserError: another coder, or one with ``add_ctr_clamp``.
    """

    def __init__(self, coder: Any) -> None:
        if type(coder).__name__ != "DeltaXYWHBBoxCoder" or coder.add_ctr_clamp:
            raise UserError(f"boxes of {type(coder).__name__} cannot be exported")
        self.means, self.stds, self.clip = coder.means, coder.stds, coder.clip_border

    def __call__(self, anchors: Tensor, deltas: Tensor, size: Sequence[int]) -> Tensor:
        """Boxes ``(…, 4)`` as x1, y1, x2, y2, within the image.

        Args:
            anchors: ``(…, 4)`` as x1, y1, x2, y2.
            deltas: ``(…, 4)``: shift of the centre, logarithm of the scaling.
            size: height and width of the image.
        """
        deltas = deltas * deltas.new_tensor(self.stds) + deltas.new_tensor(self.means)
        limit = math.log(LARGEST_RATIO)
        low, high = anchors[..., :2], anchors[..., 2:]
        centre = (low + high) * 0.5 + (high - low) * deltas[..., :2]
        half = (high - low) * deltas[..., 2:].clamp(-limit, limit).exp() * 0.5
        x1, y1 = (centre - half).unbind(-1)
        x2, y2 = (centre + half).unbind(-1)
        if not self.clip:
            return torch.stack([x1, y1, x2, y2], dim=-1)
        height, width = size
        across = (x.clamp(0, width) for x in (x1, x2))
        down = (y.clamp(0, height) for y in (y1, y2))
        (x1, x2), (y1, y2) = across, down
        return torch.stack([x1, y1, x2, y2], dim=-1)


def top_candidates(
    head: Any, level: int, scores: Tensor, deltas: Tensor, limit: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best pairs of anchor and class of one level (``filter_scores_and_topk``).

    Ranked by logits: the sigmoid keeps their order and is computed for the selected ones only.

    Args:
        head: anchor head.
        level: which of its levels.
        scores: ``(1, anchors * classes, h, w)`` before the sigmoid.
        deltas: ``(1, anchors * 4, h, w)``.
        limit: how many; -1: all.

    Returns:
        Logits ``(k,)``, classes ``(k,)``, deltas ``(k, 4)`` and anchors ``(k, 4)``.
    """
    width = scores.shape[-1]
    classes = head.cls_out_channels
    logits = scores[0].permute(1, 2, 0).reshape(-1)
    count = logits.shape[0] if limit <= 0 else torch.sym_min(limit, logits.shape[0])
    logits, index = logits.topk(count)
    cell = index // classes
    deltas = deltas[0].permute(1, 2, 0).reshape(-1, 4)[cell]
    return logits, index % classes, deltas, anchors_at(head.prior_generator, level, cell, width)


def anchors_at(generator: Any, level: int, index: Tensor, width: int) -> Tensor:
    """Anchors ``(k, 4)`` by flat index into a map of this width (``sparse_priors``)."""
    base = generator.base_anchors[level].to(index.device)
    place = index // len(base)
    stride_x, stride_y = generator.strides[level]
    row = place // width
    column = place - row * width  # the exporter cannot write % by a symbolic size
    x, y = column * stride_x, row * stride_y
    return base[index % len(base)] + torch.stack([x, y, x, y], dim=-1)


def grouped_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, cfg: Any, score_thr: float, limit: int
) -> Tensor:
    """NMS within each class or level: groups are moved apart (``batched_nms``).

    Returns indices of the kept boxes by descending score, at most ``limit``.
    """
    apart = boxes + (groups * (boxes.max() + 1))[:, None]
    return nms(apart, scores, float(cfg.iou_threshold), float(score_thr), int(limit))


def check_nms(cfg: Any) -> None:
    """Refuses any NMS but the plain greedy one."""
    extra = {k: v for k, v in cfg.items() if k not in ("type", "iou_threshold")}
    if cfg.get("type", "nms") != "nms" or extra:
        raise UserError(f"the NMS {dict(cfg)} cannot be exported: supported is type='nms'")


class MultiLevelRoIAlign(nn.Module):
    """RoIAlign on the pyramid level for a box's size (``SingleRoIExtractor``).

    Args:
        extractor: mmdet's; its levels and output size apply.

    Raises:
        UserError: anything but averaging RoIAlign with ``aligned=True``.
    """

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        layer = extractor.roi_layers[0]
        if type(layer).__name__ != "RoIAlign" or layer.pool_mode != "avg" or not layer.aligned:
            raise UserError(f"RoI features by {layer} cannot be exported")
        self.size, self.sampling_ratio = layer.output_size, layer.sampling_ratio
        self.scales = [layer.spatial_scale for layer in extractor.roi_layers]
        self.finest = extractor.finest_scale

    def forward(self, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Features ``(n, C, h, w)`` of boxes ``(n, 4)``."""
        if len(self.scales) == 1:
            return self.pool(0, maps, boxes)
        wide, high = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
        level = torch.log2(torch.sqrt(wide * high) / self.finest + 1e-6).floor()
        level = level.clamp(0, len(self.scales) - 1)
        index = [(level == i).nonzero().squeeze(1) for i in range(len(self.scales))]
        pooled = [self.pool(i, maps, boxes[chosen]) for i, chosen in enumerate(index)]
        return torch.cat(pooled)[torch.cat(index).argsort()]  # back in the order of the boxes

    def pool(self, level: int, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Features of boxes that belong to one level."""
        scale = self.scales[level]
        return roi_align(maps[level], boxes, *self.size, scale, self.sampling_ratio)
