"""Masks on boxes into masks of the image."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def paste_masks(probabilities: Tensor, boxes: Tensor, size: Sequence[int], thr: float) -> Tensor:
    """Samples each grid at the pixel centres of its box (mmdet's ``_do_paste_mask``).

    Args:
        probabilities: ``(n, h, w)``.
        boxes: ``(n, 4)`` as x1, y1, x2, y2 in pixels of the image.
        size: height and width of the image.
        thr: a pixel belongs to the object from this probability on.

    Returns:
        ``(n, height, width)``, bool.
    """
    height, width = size
    pasted = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, grid, box in zip(pasted, probabilities, boxes, strict=True):
        # One pixel more on every side: the grid's edge cells fade out over half of theirs.
        x1, y1 = (max(int(value.floor()) - 1, 0) for value in box[:2])
        x2 = min(int(box[2].ceil()) + 1, width)
        y2 = min(int(box[3].ceil()) + 1, height)
        x = centres(x1, x2, box[0], box[2])
        y = centres(y1, y2, box[1], box[3])
        where = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
        mask[y1:y2, x1:x2] = (
            F.grid_sample(grid[None, None], where, align_corners=False)[0, 0] >= thr
        )
    return pasted


def centres(first: int, stop: int, low: Tensor, high: Tensor) -> Tensor:
    """Pixel centres along one side, from -1 at the box's lower edge to 1 at its upper one."""
    places = (torch.arange(first, stop) + 0.5 - low) / (high - low) * 2 - 1
    return torch.nan_to_num(places, nan=0.0, posinf=0.0, neginf=0.0)  # a box without extent
