"""The steps between head and result of a detector, written so that they can be traced.

Each follows mmdet 3 and says which part of it.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from casvit_dense.errors import UserError
from casvit_dense.export.ops import nms, roi_align

#: A box is at most this many times wider or higher than its anchor (``delta2bbox``).
LARGEST_RATIO = 1000 / 16


class BoxDecoder:
    """Anchors and regressed numbers to boxes (``DeltaXYWHBBoxCoder``).

    Args:
        coder: mmdet's, whose constants are taken.

    Raises:
        UserError: another coder, or one that clamps centres.
    """

    def __init__(self, coder: Any) -> None:
        if type(coder).__name__ != "DeltaXYWHBBoxCoder" or coder.add_ctr_clamp:
            raise UserError(f"boxes of {type(coder).__name__} cannot be exported")
        self.means, self.stds, self.clip = coder.means, coder.stds, coder.clip_border

    def __call__(self, anchors: Tensor, deltas: Tensor, size: Sequence[int]) -> Tensor:
        """Boxes ``(…, 4)`` as x1, y1, x2, y2, within the image.

        Args:
            anchors: ``(…, 4)`` as x1, y1, x2, y2.
            deltas: ``(…, 4)``: shift of the centre, logarithm of the growth.
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


def best_per_level(
    head: Any, level: int, scores: Tensor, deltas: Tensor, limit: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best pairs of anchor and class of one level (``filter_scores_and_topk``).

    Ranked before the sigmoid, which keeps their order and is then computed for few.

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
    """Anchors ``(k, 4)`` by their number in rows of ``width`` places (``sparse_priors``)."""
    base = generator.base_anchors[level].to(index.device)
    place = index // len(base)
    stride_x, stride_y = generator.strides[level]
    row = place // width
    column = place - row * width  # the exporter knows no remainder by an open size
    x, y = column * stride_x, row * stride_y
    return base[index % len(base)] + torch.stack([x, y, x, y], dim=-1)


def nms_by_group(
    boxes: Tensor, scores: Tensor, groups: Tensor, cfg: Any, score_thr: float, limit: int
) -> Tensor:
    """Suppression within each class or level (``batched_nms``): groups are moved apart.

    Returns:
        Indices of the kept boxes by falling score, at most ``limit``.
    """
    apart = boxes + (groups * (boxes.max() + 1))[:, None]
    return nms(apart, scores, float(cfg.iou_threshold), float(score_thr), int(limit))


def check_suppression(cfg: Any) -> None:
    """Refuses another suppression than the plain greedy one.

    Raises:
        UserError: with what is set.
    """
    extra = {k: v for k, v in cfg.items() if k not in ("type", "iou_threshold")}
    if cfg.get("type", "nms") != "nms" or extra:
        raise UserError(f"suppression {dict(cfg)} cannot be exported: known is type='nms'")


class LevelPooling(nn.Module):
    """RoIAlign on the level that suits a box's size (``SingleRoIExtractor``).

    Args:
        extractor: mmdet's, whose constants are taken.

    Raises:
        UserError: another pooling than averaging RoIAlign with aligned pixel centres.
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
