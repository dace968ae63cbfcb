"""Which models can be exported whole, and how they are made ready for it."""

import copy
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from casvit_dense.errors import UserError
from casvit_dense.export.graphs import ImageGraph, OneStageGraph, SegmenterGraph, TwoStageGraph


def graph_of(model: nn.Module) -> ImageGraph:
    """The graph of a whole mmdet or mmseg model, which stays as it is.

    Args:
        model: in eval mode, without SyncBN.

    Raises:
        UserError: it is of a kind that we cannot write.
    """
    model = copy.deepcopy(model)
    kinds = {base.__name__ for base in type(model).__mro__}
    if "TwoStageDetector" in kinds and supports_two_stages(model):
        return TwoStageGraph(model).eval()
    if "SingleStageDetector" in kinds and supports_one_stage(model):
        return OneStageGraph(model).eval()
    if type(model).__name__ == "EncoderDecoder":
        check_segmenter(model)
        replace_upsampling(model)
        return SegmenterGraph(model).eval()
    raise UserError(
        f"{type(model).__name__} with these heads cannot be exported whole: known are RetinaNet, "
        "Faster and Mask R-CNN, and EncoderDecoder; export --part backbone"
    )


def supports_one_stage(model: Any) -> bool:
    """An anchor head that decides each class by a sigmoid, and mmdet's own way to predict."""
    head = model.bbox_head
    kinds = {base.__name__ for base in type(head).__mro__}
    return kinds >= {"AnchorHead"} and type(head).__name__ == "RetinaHead" and head.use_sigmoid_cls


def supports_two_stages(model: Any) -> bool:
    """RPN with sigmoid, and the standard heads on single levels."""
    roi = model.roi_head
    return (
        type(model.rpn_head).__name__ == "RPNHead"
        and model.rpn_head.use_sigmoid_cls
        and type(roi).__name__ == "StandardRoIHead"
        and type(roi.bbox_roi_extractor).__name__ == "SingleRoIExtractor"
        and not roi.bbox_head.custom_cls_channels
        and (not roi.with_mask or type(roi.mask_head).__name__ == "FCNMaskHead")
    )


def check_segmenter(model: Any) -> None:
    """Refuses what happens outside one pass of the network.

    Raises:
        UserError: sliding windows, padding in the preprocessor, or a single output channel.
    """
    if model.test_cfg.get("mode", "whole") != "whole":
        raise UserError("a segmenter is exported whole: set model.test_cfg.mode to 'whole'")
    if model.data_preprocessor.test_cfg:
        raise UserError("data_preprocessor.test_cfg pads test images; export cannot do that")
    if model.decode_head.out_channels == 1:
        raise UserError("a segmenter with one output channel (threshold) cannot be exported")


def replace_upsampling(model: nn.Module) -> None:
    """Puts `Enlarge` in place of mmseg's ``Upsample``."""
    for parent in model.modules():
        child: Any
        for name, child in parent.named_children():
            factor = getattr(child, "scale_factor", None)
            if type(child).__name__ == "Upsample" and isinstance(factor, float):
                if not factor.is_integer():
                    raise UserError(f"upsampling by {factor} cannot be exported")
                setattr(parent, name, Enlarge(int(factor), child.mode, child.align_corners))


class Enlarge(nn.Module):
    """Bilinear enlargement by a whole factor; mmseg's own turns sizes into constants."""

    def __init__(self, factor: int, mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.factor, self.mode, self.align_corners = factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        size = [side * self.factor for side in x.shape[-2:]]
        return F.interpolate(x, size=size, mode=self.mode, align_corners=self.align_corners)
