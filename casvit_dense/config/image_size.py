"""Images of another size than a recipe's, in every pipeline."""

from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from casvit_dense.config.tree import LOADERS, dicts_in
from casvit_dense.errors import UserError

#: Image sides are multiples of it: the stride of the coarsest map.
STRIDE = 32

#: Arguments of pipeline steps that say how large an image becomes.
RESIZES = ("scale", "scales", "crop_size", "img_scale")


def set_image_size(cfg: Config, side: int) -> None:
    """Fits images into squares (detection), or changes crop and resizing together (segmentation).

    Raises:
        UserError: the side is no multiple of 32, or nothing in the pipelines has a size.
    """
    if side % STRIDE or side < STRIDE:
        near = max(STRIDE, round(side / STRIDE) * STRIDE)
        raise UserError(f"--image-size {side}: give a multiple of {STRIDE}, such as {near}")
    steps = [step for step in dicts_in([cfg.get(key) for key in LOADERS]) if "type" in step]
    sized = [step for step in steps if any(isinstance(step.get(key), Sequence) for key in RESIZES)]
    if not sized:
        raise UserError(f"--image-size: no step of the pipelines of {cfg.filename} has a size")
    if cfg.get("default_scope") == "mmdet":
        for step in sized:
            for key in RESIZES:
                if isinstance(step.get(key), Sequence):
                    step[key] = [(side, side)] if key == "scales" else (side, side)
            if "scale" in step and step.type == "Resize":
                step.keep_ratio = True
    else:
        scale_sizes(cfg, sized, side)


def scale_sizes(cfg: Config, sized: list[ConfigDict], side: int) -> None:
    """Scales every size of a segmenter so that its crops have this side."""
    preprocessor = cfg.model.get("data_preprocessor") or ConfigDict()
    crops = [step.crop_size for step in sized if step.get("crop_size")]
    before = preprocessor.get("size") or next(iter(crops), None) or sized[0].get("scale")
    if not isinstance(before, Sequence):
        raise UserError(f"--image-size: {cfg.filename} names no size of its crops")
    factor = side / min(before)

    def scaled(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(map(scaled, value))
        return max(1, round(value * factor))

    for step in {id(step): step for step in sized}.values():
        step.update({key: scaled(step[key]) for key in RESIZES if step.get(key)})
    if preprocessor.get("size"):
        preprocessor.size = scaled(preprocessor.size)
    test_cfg = cfg.model.get("test_cfg") or {}
    for key in ("crop_size", "stride"):  # of sliding windows
        if test_cfg.get(key):
            test_cfg[key] = scaled(test_cfg[key])
