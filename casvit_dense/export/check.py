"""Comparison of a written file with the model that it was made of."""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from casvit_dense.data.scene import draw_scene
from casvit_dense.errors import UserError
from casvit_dense.export.agreement import (
    Agreement,
    compare_detections,
    compare_maps,
    compare_segments,
)
from casvit_dense.exported.description import Description, read_description
from casvit_dense.exported.model import predict_image
from casvit_dense.exported.runtime import Runtime, open_runtime

Size = tuple[int, int]

SMALLEST = 64  # pixels a side of a check's image


def check_sizes(size: Size, dynamic: bool) -> list[Size]:
    """Two sizes to compare at: the traced one, and for an open size one that no stride divides."""
    if not dynamic:
        return [size, size]
    height, width = size
    return [size, (max(height * 3 // 4, SMALLEST) | 1, max(width * 5 // 8, SMALLEST) | 1)]


def check_images(sizes: Sequence[Size], sources: Sequence[Path]) -> list[np.ndarray]:
    """One picture ``(H, W, 3)``, BGR, for each size.

    Args:
        sizes: heights and widths.
        sources: pictures to resize, of the model's own data where they are at hand; generated
            scenes take the place of those that are missing.
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
    backbone: nn.Module, path: Path, about: Description, images: Sequence[np.ndarray]
) -> Iterator[Agreement]:
    """Maps of the written backbone beside those of the original one, image by image."""
    runtime = _open_written(path)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (about.mean, about.std))
    for image in images:
        pixels = (
            channels_first(image).flip(0)
            if about.channel_order == "RGB"
            else (channels_first(image))
        )
        array = (pixels[None].float() - mean) / std
        batch = array.repeat(about.input_shape[0], 1, 1, 1)
        with torch.no_grad():
            expected = [x.numpy() for x in backbone(batch)]
        yield compare_maps(expected, runtime(batch.numpy()))


def compare_model(
    model: nn.Module, path: Path, about: Description, images: Sequence[np.ndarray]
) -> Iterator[Agreement]:
    """Results of the written model beside those of the original one, image by image.

    Torch's results come from the model's own ``test_step``, which knows nothing of the graph.
    """
    runtime, written = _open_written(path), read_description(path)
    compare = COMPARISONS[about.kind]
    for image in images:
        with torch.no_grad():
            expected = test_step(model)(sample_of(about.kind, image))[0]
        sample = sample_of(about.kind, image)
        found = predict_image(runtime, sample["inputs"][0], sample["data_samples"][0], written)
        yield compare(expected, found, model)


def _open_written(path: Path) -> Runtime:
    """Opens a file that this process wrote just now, which makes unpickling it safe."""
    if path.suffix != ".pt2":
        return open_runtime(path)
    module = torch.export.load(path).module()

    def run(array: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            found = module(torch.from_numpy(array))
        outputs = found if isinstance(found, (tuple, list)) else (found,)
        return [output.numpy() for output in outputs]

    return run


def test_step(model: nn.Module) -> Callable[[dict[str, Any]], list[Any]]:
    """The method by which mmengine tests a model."""
    step = getattr(model, "test_step", None)
    if step is None:
        raise UserError(f"{type(model).__name__} is no model of mmengine")
    return step


def sample_of(kind: str, image: np.ndarray) -> dict[str, Any]:
    """A batch of one image as a test pipeline would give it, without any resizing."""
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


def _compare_detectors(expected: Any, found: Any, model: Any) -> Agreement:
    cfg = model.test_cfg.get("rcnn", model.test_cfg)
    return compare_detections(expected, found, cfg.get("score_thr", 0.0), cfg.max_per_img)


def _compare_segmenters(expected: Any, found: Any, model: Any) -> Agreement:
    return compare_segments(expected, found)


COMPARISONS: dict[str, Callable[[Any, Any, Any], Agreement]] = {
    "detector": _compare_detectors,
    "segmenter": _compare_segmenters,
}
