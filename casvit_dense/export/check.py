"""Compares a written file with the torch model it was made from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from casvit_dense.data.scene import draw_scene
from casvit_dense.errors import UserError
from casvit_dense.export.description import Description, read_description
from casvit_dense.export.model import predict_image
from casvit_dense.export.runtime import Runtime, open_runtime

Size = tuple[int, int]

SMALLEST = 64  # pixels, least side of a test image

#: Largest difference of a feature map, relative to its largest value.
MAP_TOLERANCE = 1e-4
#: Share of pixels whose class may differ: scores that are equal but for rounding.
LABEL_TOLERANCE = 1e-3
#: Two detections match if they differ by less, in score, and in pixels relative to the box's size.
SCORE_TOLERANCE = 1e-3
BOX_TOLERANCE = 1e-3
#: Share of detections without a match, and share of an object's pixels that may differ.
UNMATCHED_TOLERANCE = 0.02
MASK_TOLERANCE = 0.01


@dataclass(frozen=True)
class Agreement:
    """Result of one comparison.

    Attributes:
        good: within the tolerances.
        text: what was compared and the largest difference.
        compared: number of compared values, pixels or detections.
    """

    good: bool
    text: str
    compared: int


def check_sizes(size: Size, dynamic: bool) -> list[Size]:
    """Two sizes to compare at: the traced one, and for an open size an odd smaller one."""
    if not dynamic:
        return [size, size]
    height, width = size
    return [size, (max(height * 3 // 4, SMALLEST) | 1, max(width * 5 // 8, SMALLEST) | 1)]


def check_images(sizes: Sequence[Size], sources: Sequence[Path]) -> list[np.ndarray]:
    """One picture ``(H, W, 3)``, BGR, for each size.

    Args:
        sources: pictures to resize, preferably of the model's own data; generated scenes replace
            those that are missing.
    """
    rng = np.random.default_rng(0)
    pictures = [picture for path in sources if (picture := cv2.imread(str(path))) is not None]
    while len(pictures) < len(sizes):
        pictures.append(draw_scene(rng, 160, num_objects=5, crowd=False).image)
    return [
        cv2.resize(picture, (width, height))
        for picture, (height, width) in zip(pictures, sizes, strict=False)
    ]


def compare_backbone(
    backbone: nn.Module, path: Path, description: Description, images: Sequence[np.ndarray]
) -> Iterator[Agreement]:
    """Feature maps of the written backbone and of the original one, image by image."""
    runtime = _open_written(path)
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1) for values in (description.mean, description.std)
    )
    for image in images:
        pixels = channels_first(image)
        if description.channel_order == "RGB":
            pixels = pixels.flip(0)
        batch = ((pixels[None].float() - mean) / std).repeat(description.input_shape[0], 1, 1, 1)
        with torch.no_grad():
            expected = [x.numpy() for x in backbone(batch)]
        yield compare_maps(expected, runtime(batch.numpy()))


def compare_model(
    model: Any, path: Path, description: Description, images: Sequence[np.ndarray]
) -> Iterator[Agreement]:
    """Results of the written model and of the original one, image by image.

    Torch's results come from the model's own ``test_step``, which does not use the graph.
    """
    if not hasattr(model, "test_step"):
        raise UserError(f"{type(model).__name__} is not a model of mmengine")
    runtime, written = _open_written(path), read_description(path)
    for image in images:
        with torch.no_grad():
            expected = model.test_step(sample_of(description.kind, image))[0]
        sample = sample_of(description.kind, image)
        found = predict_image(runtime, sample["inputs"][0], sample["data_samples"][0], written)
        if description.kind == "segmenter":
            yield compare_segments(expected, found)
        else:
            cfg = model.test_cfg.get("rcnn", model.test_cfg)
            limit = cfg.get("score_thr", 0.0)
            yield compare_detections(expected, found, limit, cfg.max_per_img)


def _open_written(path: Path) -> Runtime:
    """Opens a file that this process has just written, so unpickling it is safe."""
    if path.suffix != ".pt2":
        return open_runtime(path)
    module: Callable[..., Any] = torch.export.load(path).module()

    def run(array: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            found = module(torch.from_numpy(array))
        outputs = found if isinstance(found, (tuple, list)) else (found,)
        return [output.numpy() for output in outputs]

    return run


def sample_of(kind: str, image: np.ndarray) -> dict[str, Any]:
    """A batch of one image in the form of a test pipeline's output, not resized."""
    sample = (
        import_module("mmdet.structures").DetDataSample()
        if kind == "detector"
        else import_module("mmseg.structures").SegDataSample()
    )
    size = image.shape[:2]
    sample.set_metainfo({"img_id": 0, "ori_shape": size, "img_shape": size, "scale_factor": (1, 1)})
    return {"inputs": [channels_first(image)], "data_samples": [sample]}


def channels_first(image: np.ndarray) -> Tensor:
    """``(H, W, 3)`` to ``(3, H, W)``."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def compare_maps(expected: list[np.ndarray], found: list[np.ndarray]) -> Agreement:
    """Feature maps, value by value."""
    if [x.shape for x in expected] != [x.shape for x in found]:
        shapes = f"{[x.shape for x in found]}, torch gives {[x.shape for x in expected]}"
        return Agreement(False, f"shapes {shapes}", 0)
    worst = max(relative_gap(e, f) for e, f in zip(expected, found, strict=True))
    text = f"{len(expected)} maps, largest difference {worst:.1e} of the largest value"
    return Agreement(worst <= MAP_TOLERANCE, text, sum(x.size for x in expected))


def relative_gap(expected: np.ndarray, found: np.ndarray) -> float:
    """Largest difference relative to the largest expected value; infinite if one is not finite."""
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(expected - found).max() / max(np.abs(expected).max(), 1e-12))


def compare_segments(expected: Any, found: Any) -> Agreement:
    """Two mmseg samples: scores, and the class of each pixel."""
    logits = (sample.seg_logits.data.numpy() for sample in (expected, found))
    gap = relative_gap(*logits)
    classes = [sample.pred_sem_seg.data for sample in (expected, found)]
    other = float((classes[0] != classes[1]).double().mean())
    text = f"scores differ by {gap:.1e} of the largest, {other:.2%} of the pixels in class"
    return Agreement(gap <= MAP_TOLERANCE and other <= LABEL_TOLERANCE, text, classes[0].numel())


def compare_detections(expected: Any, found: Any, score_thr: float, limit: int) -> Agreement:
    """Two mmdet samples, torch's and the file's: every detection must have its match.

    Args:
        score_thr: least score of a detection; near it, rounding decides whether one is reported.
        limit: most detections of an image; where it is reached, rounding decides on the last.
    """
    a, b = expected.pred_instances, found.pred_instances
    pairs = match(a, b)
    unmatched = [(a, i) for i in range(len(a)) if i not in pairs]
    unmatched += [(b, i) for i in range(len(b)) if i not in pairs.values()]
    last = max([score_thr, *(float(x.scores.min()) for x in (a, b) if len(x) >= limit)])
    missed = sum(float(x.scores[i]) > last + SCORE_TOLERANCE for x, i in unmatched)
    score = max((float(abs(a.scores[i] - b.scores[j])) for i, j in pairs.items()), default=0.0)
    box = max((float((a.bboxes[i] - b.bboxes[j]).abs().max()) for i, j in pairs.items()), default=0)
    text = (
        f"{len(a)} detections, {missed} unmatched, the others differ by {score:.1e} in score "
        f"and {box:.1e} pixels"
    )
    good = missed <= UNMATCHED_TOLERANCE * max(len(a), len(b))
    if "masks" in a and pairs:
        other = mask_gap(a.masks, b.masks, pairs)
        good = good and other <= MASK_TOLERANCE
        text += f", masks in {other:.2%} of their pixels"
    return Agreement(good, text, len(a))


def match(a: Any, b: Any) -> dict[int, int]:
    """Pairs of equal detections: index in ``a`` to index in ``b``, each used once.

    Equal are those of the same class whose score and box differ within the tolerances.
    """
    gap = (a.bboxes[:, None] - b.bboxes).abs().amax(-1)
    size = (a.bboxes[:, 2:] - a.bboxes[:, :2]).amax(-1).clamp(min=100)
    near = gap <= BOX_TOLERANCE * size[:, None]
    near &= (a.scores[:, None] - b.scores).abs() <= SCORE_TOLERANCE
    near &= a.labels[:, None] == b.labels
    pairs: dict[int, int] = {}
    for i in range(len(a)):
        if near[i].any():
            pairs[i] = int(gap[i].masked_fill(~near[i], torch.inf).argmin())
            near[:, pairs[i]] = False
    return pairs


def mask_gap(a: Tensor, b: Tensor, pairs: dict[int, int]) -> float:
    """Pixels that differ, relative to the pixels of all masks."""
    chosen, partners = a[list(pairs)], b[list(pairs.values())]
    return float((chosen ^ partners).sum() / torch.clamp((chosen | partners).sum(), min=1))
