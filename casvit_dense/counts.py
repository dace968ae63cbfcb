"""Parameters, multiply-adds and bytes of a network, part by part.

One multiply-add (MAC) is two of torch's floating-point operations. Counted are convolutions and
matrix products; norms, activations, pooling and interpolation are not.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass
class Cost:
    """What one call of a part takes.

    Attributes:
        params: parameters, trainable or not.
        operators: of every convolution and matrix product, its MACs and the bytes of its inputs,
            weights and outputs.
    """

    params: int = 0
    operators: list[tuple[float, int]] = field(default_factory=list)

    @property
    def macs(self) -> float:
        """Multiply-adds."""
        return sum(macs for macs, _ in self.operators)

    @property
    def moved(self) -> int:
        """Bytes of all operands, each counted where it is used."""
        return sum(size for _, size in self.operators)

    def floor(self, flops_per_second: float, bytes_per_second: float) -> float:
        """Least seconds by the roofline: every operator by its slower side, the rest for free."""
        return sum(
            max(2 * macs / flops_per_second, size / bytes_per_second)
            for macs, size in self.operators
        )

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.params + other.params, self.operators + other.operators)


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operators: list[tuple[float, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet in flop_registry:
            tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
            size = sum(t.numel() * t.element_size() for t in tensors)
            if packet is torch.ops.aten.convolution_backward:
                macs = convolution_backward_macs(*args)
            else:
                macs = flop_registry[packet](*args, **kwargs, out_val=out) / 2
            self.operators.append((macs, size))
        return out


def convolution_backward_macs(gradient: Tensor, x: Tensor, weight: Tensor, *options: Any) -> int:
    """MACs of the backward pass: the forward's for each wanted gradient, of input and weights.

    Torch's own formula takes grouped convolutions for dense ones.
    """
    transposed, wanted = options[4], options[-1][:2]
    steps = x if transposed else gradient
    return steps.numel() * weight[0].numel() * sum(wanted)


def count(module: nn.Module, call: Callable[[], Any]) -> Cost:
    """Cost of a call into a module."""
    with _Recorder() as recorder:
        call()
    return Cost(sum(p.numel() for p in module.parameters()), recorder.operators)


def count_backbone(backbone: nn.Module, images: Tensor) -> Cost:
    """Cost of a forward pass. Meta tensors will do: nothing need be computed."""
    with torch.no_grad():
        return count(backbone, lambda: backbone(images))


def count_training(backbone: nn.Module, images: Tensor) -> Cost:
    """Cost of a forward and a backward pass."""

    def step() -> None:
        outs = backbone(images)
        torch.autograd.backward(outs, [torch.ones_like(out) for out in outs])

    cost = count(backbone, step)
    backbone.zero_grad(set_to_none=True)
    return cost


def rois_of(model: Any) -> tuple[int, int]:
    """Boxes and masks of an image that a two-stage detector's second stage looks at; else zeros."""
    if not hasattr(model, "roi_head"):
        return 0, 0
    boxes = model.test_cfg.rpn.max_per_img
    masks = model.test_cfg.rcnn.max_per_img if model.roi_head.with_mask else 0
    return boxes, masks


@torch.no_grad()
def count_parts(model: Any, images: Tensor) -> dict[str, Cost]:
    """Costs of ``backbone``, ``neck`` and ``head`` of an mmdet or mmseg model, or of a classifier.

    The second stage of a two-stage detector counts with the number of boxes of `rois_of`, and its
    mask head with that of masks, whatever is on the images.
    """
    features = []
    costs = {"backbone": count(model.backbone, lambda: features.extend(model.backbone(images)))}
    maps = tuple(features)
    if getattr(model, "neck", None) is not None:
        features.clear()
        costs["neck"] = count(model.neck, lambda: features.extend(model.neck(maps)))
        maps = tuple(features)
    costs["head"] = sum((count(head, call) for head, call in _head_calls(model, maps)), Cost())
    return costs


def _head_calls(model: Any, maps: tuple[Tensor, ...]) -> list[tuple[nn.Module, Callable[[], Any]]]:
    if isinstance(getattr(model, "head", None), nn.Linear):  # a classifier, with one head or two
        features = maps[-1].mean((2, 3))
        heads = filter(None, (model.head, getattr(model, "dist_head", None)))
        return [(head, lambda head=head: head(features)) for head in heads]  # type: ignore[misc]
    head = dense_head(model)
    calls: list[tuple[nn.Module, Callable[[], Any]]] = [(head, lambda: head(maps))]
    boxes, masks = (len(maps[0]) * rois for rois in rois_of(model))
    for kind, rois in (("bbox", boxes), ("mask", masks)):
        if rois:
            roi_head, extractor = (
                getattr(model.roi_head, f"{kind}_{part}") for part in ("head", "roi_extractor")
            )
            side = extractor.roi_layers[0].output_size
            regions = maps[0].new_empty(rois, extractor.out_channels, *side)
            calls.append((roi_head, lambda head=roi_head, x=regions: head(x)))  # type: ignore[misc]
    return calls


def dense_head(model: Any) -> nn.Module:
    """The head that sees the whole maps: of a detector, of its region proposals, of a segmenter."""
    names = ("decode_head", "rpn_head", "bbox_head")
    return next(getattr(model, name) for name in names if hasattr(model, name))


def on_meta(model: nn.Module) -> nn.Module:
    """A copy without numbers, in evaluation mode, that takes meta tensors and next to no memory."""
    tensors = [*model.parameters(), *model.buffers()]
    copy = deepcopy(model, {id(tensor): tensor.detach().to("meta") for tensor in tensors})
    copy.eval()  # not chained: of some peers this returns nothing
    return copy
