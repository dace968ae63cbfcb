"""Predictions drawn over their images."""

import warnings
from functools import cache
from typing import Any

import cv2
import numpy as np
from mmengine.structures import BaseDataElement, InstanceData
from torch.nn.functional import interpolate

from casvit_dense.predictor.model import Labels

#: Longer side of a picture in pixels: text must be readable, and files not too large.
SMALLEST_PICTURE, LARGEST_PICTURE = 640, 1600

Colour = tuple[int, int, int]  # BGR

FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5
LINE_HEIGHT = 22  # pixels, of the legend
SWATCH = 14  # pixels, side of a colour sample
MARGIN = 8  # pixels, in the legend
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
NAMED_SHARE = 0.01  # of the picture: least area of a region that gets its name written


def draw(
    image: np.ndarray, sample: BaseDataElement, labels: Labels, score_thr: float = 0.0
) -> np.ndarray:
    """A picture of the prediction.

    Args:
        image: ``(H, W, 3)``, uint8, BGR: the image that was predicted on.
        sample: what ``Predictor.predict`` gave for it.
        labels: names and colours of the classes.
        score_thr: instances of lower score are not drawn.

    Returns:
        uint8, BGR, the image resized to between 640 and 1600 pixels at its longer side: with
        boxes, masks, names and scores, or tinted by class with a legend at its right.
    """
    longer = max(image.shape[:2])
    scale = min(max(longer, SMALLEST_PICTURE), LARGEST_PICTURE) / longer
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = cv2.resize(image, (width, height), interpolation=method)
    if "pred_sem_seg" in sample:
        indices = sample.pred_sem_seg.data[0].numpy().astype(np.uint16)
        indices = cv2.resize(indices, (width, height), interpolation=cv2.INTER_NEAREST)
        return draw_map(canvas, indices, labels)
    instances = sample.pred_instances
    kept = instances[instances.scores >= score_thr]
    kept = kept[kept.scores.argsort()]  # the most confident on top
    kept.bboxes = kept.bboxes * scale
    if "masks" in kept and len(kept):
        kept.masks = interpolate(kept.masks[None].byte(), (height, width))[0].bool()
    return draw_instances(canvas, kept, labels)


def draw_instances(image: np.ndarray, instances: InstanceData, labels: Labels) -> np.ndarray:
    """Boxes and masks with names and scores in percent, by mmdet's visualiser.

    Args:
        image: ``(H, W, 3)``, uint8, BGR.
        instances: ``bboxes``, ``scores``, ``labels`` and perhaps ``masks`` in pixels of ``image``.

    Returns:
        A new image of the same shape.
    """
    from mmdet.structures import DetDataSample

    if not len(instances):
        return image.copy()
    visualizer = _visualizer()
    visualizer.dataset_meta = {"classes": labels.names, "palette": list(labels.palette)}
    sample = DetDataSample(pred_instances=instances)
    with warnings.catch_warnings():
        # mmengine calls a box that ends at the image's edge "out of bounds".
        warnings.filterwarnings("ignore", message=".*out of bounds")
        visualizer.add_datasample("", image[..., ::-1], sample, draw_gt=False, pred_score_thr=-1.0)
    return np.ascontiguousarray(visualizer.get_image()[..., ::-1])


@cache
def _visualizer() -> Any:
    from mmdet.visualization import DetLocalVisualizer

    return DetLocalVisualizer(line_width=3, alpha=0.6)


def draw_map(image: np.ndarray, indices: np.ndarray, labels: Labels) -> np.ndarray:
    """The image tinted by class, with names on large regions and a legend at the right.

    mmseg's visualiser has no legend, writes a box with the name of every class, however small or
    cut off by the picture's edge, and sorts the coordinates of all pixels to place it, which takes
    seconds for a photograph.

    Args:
        image: ``(H, W, 3)``, uint8, BGR.
        indices: ``(H, W)`` class indices.

    Returns:
        ``(H, W + legend, 3)``, uint8, BGR.
    """
    colours = np.array(labels.palette, np.uint8)[:, ::-1]
    picture = cv2.addWeighted(image, 0.5, colours[indices], 0.5, 0)
    counts = np.bincount(indices.ravel(), minlength=len(labels.names))
    present = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
    for i in present:
        if counts[i] >= NAMED_SHARE * indices.size:
            _name_region(picture, indices == i, labels.names[i])
    shares = [
        (labels.names[i], tuple(colours[i].tolist()), counts[i] / indices.size) for i in present
    ]
    return np.hstack([picture, _legend(shares, len(picture))])


def _name_region(picture: np.ndarray, region: np.ndarray, name: str) -> None:
    """Writes the name where the region is widest, if it is wide enough there."""
    # Zeros around the picture: its edge bounds a region too.
    depth = cv2.distanceTransform(np.pad(region.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    (width, height), _ = cv2.getTextSize(name, FONT, FONT_SCALE, 1)
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    if depth[y, x] < height:
        return
    left = min(max(int(x) - width // 2, 0), max(picture.shape[1] - width, 0))
    origin = (left, int(y) + height // 2)
    _write(picture, name, origin, BLACK, width=3)
    _write(picture, name, origin, WHITE)


def _legend(shares: list[tuple[str, Colour, float]], height: int) -> np.ndarray:
    """A white panel: colour, name and share of the picture, for as many classes as fit."""
    rows = [(f"{name} {share:.1%}", colour) for name, colour, share in shares]
    room = max(1, height // LINE_HEIGHT)
    if len(rows) > room:
        rows[room - 1 :] = [(f"{len(rows) - room + 1} more", WHITE)]
    widest = max(cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0] for text, _ in rows)
    panel = np.full((height, widest + SWATCH + 3 * MARGIN, 3), WHITE, np.uint8)
    for i, (text, colour) in enumerate(rows):
        bottom = (i + 1) * LINE_HEIGHT - MARGIN // 2
        corners = (MARGIN, bottom - SWATCH), (MARGIN + SWATCH, bottom)
        cv2.rectangle(panel, *corners, colour, cv2.FILLED)
        _write(panel, text, (SWATCH + 2 * MARGIN, bottom - 2), BLACK)
    return panel


def _write(
    picture: np.ndarray, text: str, at: tuple[int, int], colour: Colour, width: int = 1
) -> None:
    cv2.putText(picture, text, at, FONT, FONT_SCALE, colour, width, cv2.LINE_AA)
