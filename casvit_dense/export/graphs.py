"""What is exported: whole models as modules of one tensor, post-processing included.

A graph takes the image after the config's test pipeline, with values from 0 to 255, and does the
rest: normalisation, zero padding after it, network, decoding, NMS. So a runtime needs no constants
of the model, and boxes are clipped to the image, not to its padding. The arithmetic follows
mmdet's ``predict_by_feat`` of each head.
"""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casvit_dense.errors import UserError
from casvit_dense.export.ops import (
    BoxDecoder,
    MultiLevelRoIAlign,
    check_nms,
    grouped_nms,
    top_candidates,
)

Channels = tuple[float, float, float]


class Graph(nn.Module):
    """A module with named outputs.

    Attributes:
        input_name: name of its input.
        output_names: names of its outputs, in order.
        outputs: what each holds, as documentation.
        any_batch: whether it takes several images at once.
    """

    input_name = "image"
    output_names: tuple[str, ...]
    outputs: dict[str, str]
    any_batch = True


class BackboneGraph(Graph):
    """A backbone alone: normalised images to feature maps, which are named by their stride."""

    def __init__(self, backbone: nn.Module, example: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        with torch.no_grad():
            maps = backbone(example)
        strides = getattr(backbone, "out_strides", None) or [
            round(example.shape[-1] / x.shape[-1]) for x in maps
        ]
        self.output_names = tuple(f"stride{stride}" for stride in strides)
        self.outputs = {
            name: f"float32 (N, {x.shape[1]}, ceil(H/{s}), ceil(W/{s}))"
            for name, x, s in zip(self.output_names, maps, strides, strict=True)
        }

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(image))


class ImageGraph(Graph):
    """Normalises and pads an image before the network."""

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessor: nn.Module) -> None:
        super().__init__()
        mean, std = normalisation(preprocessor)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.divisor = pad_divisor(preprocessor)

    def prepare(self, image: Tensor) -> Tensor:
        """Normalised and padded at the right and at the bottom."""
        image = (image - self.mean) / self.std
        if self.divisor == 1:
            return image
        height, width = image.shape[-2:]
        return F.pad(image, (0, -width % self.divisor, 0, -height % self.divisor))

    @abstractmethod
    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Images to the named outputs."""


class DetectorGraph(ImageGraph):
    """One image to boxes, scores and labels, in pixels of the input."""

    any_batch = False
    output_names: tuple[str, ...] = ("boxes", "scores", "labels")
    outputs = {  # noqa: RUF012  (replaced as a whole, never changed)
        "boxes": "float32 (n, 4): x1, y1, x2, y2 in pixels of the input, n of 0 or more",
        "scores": "float32 (n,), descending",
        "labels": "int64 (n,): index into classes",
    }


class OneStageGraph(DetectorGraph):
    """RetinaNet: an anchor head with a sigmoid for each class."""

    def __init__(self, model: Any) -> None:
        super().__init__(model.data_preprocessor)
        self.backbone, self.neck, self.head = model.backbone, model.neck, model.bbox_head
        self.cfg = model.test_cfg
        check_nms(self.cfg.nms)
        self.decoder = BoxDecoder(self.head.bbox_coder)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = self.neck(self.backbone(self.prepare(image)))
        picked = [
            top_candidates(self.head, level, scores, deltas, self.cfg.get("nms_pre", -1))
            for level, (scores, deltas) in enumerate(zip(*self.head(maps), strict=True))
        ]
        logits, labels, deltas, anchors = (torch.cat(parts) for parts in zip(*picked, strict=True))
        boxes = self.decoder(anchors, deltas, image.shape[-2:])
        scores = drop_small(logits.sigmoid(), boxes, self.cfg)
        limit = self.cfg.get("score_thr", 0.0)
        kept = grouped_nms(boxes, scores, labels, self.cfg.nms, limit, self.cfg.max_per_img)
        return boxes[kept], scores[kept], labels[kept]


class TwoStageGraph(DetectorGraph):
    """Faster and Mask R-CNN: proposals, RoIAlign, box head, and the mask head where there is one.

    Masks are returned as the head predicts them, a small grid over each box; the caller pastes
    them into the image.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model.data_preprocessor)
        self.backbone, self.neck = model.backbone, model.neck
        self.rpn, self.roi = model.rpn_head, model.roi_head
        self.rpn_cfg, self.cfg = model.test_cfg.rpn, model.test_cfg.rcnn
        for part in (self.rpn_cfg, self.cfg):
            check_nms(part.nms)
        self.rpn_decoder = BoxDecoder(self.rpn.bbox_coder)
        self.decoder = BoxDecoder(self.roi.bbox_head.bbox_coder)
        self.box_pooling = MultiLevelRoIAlign(self.roi.bbox_roi_extractor)
        if self.roi.with_mask:
            mask_extractor = self.roi.mask_roi_extractor
            self.mask_pooling = MultiLevelRoIAlign(mask_extractor)
            self.output_names = (*self.output_names, "masks")
            self.outputs = {
                **self.outputs,
                "masks": "float32 (n, h, w): probabilities on a grid over each box",
            }

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = self.neck(self.backbone(self.prepare(image)))
        size = image.shape[-2:]
        boxes, scores, labels = self.detect(maps, self.propose(maps, size), size)
        if not self.roi.with_mask:
            return boxes, scores, labels
        return boxes, scores, labels, self.masks(maps, boxes, labels)

    def propose(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Proposals ``(p, 4)`` of the RPN."""
        cfg = self.rpn_cfg
        picked = [
            top_candidates(self.rpn, level, scores, deltas, cfg.get("nms_pre", -1))
            for level, (scores, deltas) in enumerate(zip(*self.rpn(maps), strict=True))
        ]
        levels = torch.cat([torch.full_like(p[1], level) for level, p in enumerate(picked)])
        logits, _, deltas, anchors = (torch.cat(parts) for parts in zip(*picked, strict=True))
        boxes = self.rpn_decoder(anchors, deltas, size)
        scores = drop_small(logits.sigmoid(), boxes, cfg)
        return boxes[grouped_nms(boxes, scores, levels, cfg.nms, -0.5, cfg.max_per_img)]

    def detect(
        self, maps: Sequence[Tensor], proposals: Tensor, size: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes ``(n, 4)``, scores ``(n,)`` and labels ``(n,)`` of the detections."""
        head = self.roi.bbox_head
        logits, deltas = head(self.box_pooling(maps, proposals))
        scores = logits.softmax(-1)[:, :-1]  # the last one is background
        count = head.num_classes
        boxes = self.decoder(proposals[:, None], deltas.unflatten(1, (-1, 4)), size)
        boxes = boxes.expand(-1, count, -1).reshape(-1, 4)
        labels = torch.arange(count, device=boxes.device).expand_as(scores).reshape(-1)
        scores = scores.reshape(-1)
        kept = grouped_nms(
            boxes, scores, labels, self.cfg.nms, self.cfg.score_thr, self.cfg.max_per_img
        )
        return boxes[kept], scores[kept], labels[kept]

    def masks(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """Mask probabilities ``(n, h, w)`` of each box's class."""
        head = self.roi.mask_head
        logits = head(self.mask_pooling(maps, boxes))
        if head.class_agnostic:
            return logits[:, 0].sigmoid()
        index = labels.view(-1, 1, 1, 1).expand(-1, 1, *logits.shape[-2:])
        return logits.gather(1, index).squeeze(1).sigmoid()


class SegmenterGraph(ImageGraph):
    """An encoder-decoder: scores at the head's stride, labels at the size of the input."""

    output_names = ("logits", "labels")
    outputs = {  # noqa: RUF012
        "logits": "float32 (N, classes, h, w) at the stride of the head",
        "labels": "int64 (N, H, W): index into classes",
    }

    def __init__(self, model: Any) -> None:
        super().__init__(model.data_preprocessor)
        self.model = model
        self.align_corners = model.align_corners

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits = self.model.decode_head(self.model.extract_feat(self.prepare(image)))
        full = F.interpolate(
            logits, size=image.shape[-2:], mode="bilinear", align_corners=self.align_corners
        )
        return logits, full.argmax(dim=1)


def normalisation(preprocessor: Any) -> tuple[Channels, Channels]:
    """Mean and standard deviation of each channel; 0 and 1 where the model does not normalise."""
    if not getattr(preprocessor, "_enable_normalize", False):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return tuple(preprocessor.mean.flatten().tolist()), tuple(preprocessor.std.flatten().tolist())


def pad_divisor(preprocessor: Any) -> int:
    """Height and width are padded to a multiple of it; 1 for segmenters, which do not pad."""
    return int(getattr(preprocessor, "pad_size_divisor", 1))


def drop_small(scores: Tensor, boxes: Tensor, cfg: Any) -> Tensor:
    """The scores, with -1 for boxes below the config's ``min_bbox_size``."""
    smallest = cfg.get("min_bbox_size", -1)
    if smallest < 0:
        return scores
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    return torch.where((width > smallest) & (height > smallest), scores, -1.0)


def graph_of(model: nn.Module) -> ImageGraph:
    """The graph of a copy of a whole mmdet or mmseg model in eval mode, without SyncBN."""
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
    """Whether the head is mmdet's ``RetinaHead`` with sigmoid scores."""
    head = model.bbox_head
    return type(head).__name__ == "RetinaHead" and head.use_sigmoid_cls


def supports_two_stages(model: Any) -> bool:
    """Whether these are an RPN with sigmoid scores and the standard box and mask heads."""
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
    """Refuses sliding windows, padding in the preprocessor, and a single output channel."""
    if model.test_cfg.get("mode", "whole") != "whole":
        raise UserError("a segmenter is exported whole: set model.test_cfg.mode to 'whole'")
    if model.data_preprocessor.test_cfg:
        raise UserError("data_preprocessor.test_cfg pads test images; export cannot do that")
    if model.decode_head.out_channels == 1:
        raise UserError("a segmenter with one output channel (threshold) cannot be exported")


def replace_upsampling(model: nn.Module) -> None:
    """Replaces mmseg's ``Upsample``, which turns the sizes it computes into constants."""
    for parent in model.modules():
        child: Any
        for name, child in parent.named_children():
            factor = getattr(child, "scale_factor", None)
            if type(child).__name__ == "Upsample" and isinstance(factor, float):
                if not factor.is_integer():
                    raise UserError(f"upsampling by {factor} cannot be exported")
                setattr(parent, name, IntegerUpsample(int(factor), child.mode, child.align_corners))


class IntegerUpsample(nn.Module):
    """Upsampling by a whole factor whose output size stays symbolic in a traced graph."""

    def __init__(self, factor: int, mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.factor, self.mode, self.align_corners = factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        size = [side * self.factor for side in x.shape[-2:]]
        return F.interpolate(x, size=size, mode=self.mode, align_corners=self.align_corners)
