"""From a subject to something that can be called and timed."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from casvit_dense.deploy import compiled
from casvit_dense.measure.machine import TORCH_DTYPES
from casvit_dense.measure.networks import (
    WholeModel,
    build,
    example,
    flatten,
    freeze_norms,
    results_of,
)
from casvit_dense.measure.subject import RUNTIMES, Subject
from casvit_dense.measure.training import TrainingStep

#: Largest difference from the reference, relative to an output's largest value.
TOLERANCE = 1e-4
TF32_TOLERANCE = 0.02  # convolutions of a GPU whose factors have 11 bits
HALF_TOLERANCE = 0.1  # factors of 8 or 11 bits, rounded after every layer
# Of many almost equal candidates, rounding decides which are detected.
RESULTS_TOLERANCE = 0.01

Outputs = dict[str, list[Tensor]]


@dataclass
class Prepared:
    """A subject that is ready.

    Attributes:
        call: what is timed: from a contiguous fp32 input to the outputs.
        outputs: what is compared with the reference, by kind, the most telling first: ``maps``,
            ``gradients``, or ``results`` of a whole model; fp32 tensors on the CPU.
        saved_bytes: in training, what the forward pass keeps for the backward one.
    """

    call: Callable[[], Any]
    outputs: Callable[[], Outputs]
    saved_bytes: Callable[[], int] | None = None


def prepare(subject: Subject, threads: int, folder: Path) -> Prepared:
    """Builds a subject.

    Args:
        subject: what to build.
        threads: CPU threads of the runtimes that are not torch.
        folder: where exported files lie and are looked for.

    Raises:
        Exception: anything; a package that is missing, or a step that fails.
    """
    network = build(subject)
    if subject.mode == "train":
        return _prepare_training(subject, network)
    if subject.form == "fused":
        from casvit_dense.deploy import fuse

        network = fuse(network)
    if subject.backend in RUNTIMES:
        from casvit_dense.measure.runtimes import prepare_runtime

        return prepare_runtime(subject, network, threads, folder)
    return _prepare_torch(subject, network)


def _prepare_torch(subject: Subject, network: nn.Module) -> Prepared:
    network = _placed(subject, network)
    images = example(subject, subject.device)
    context = autocast_of(subject)
    whole = WholeModel(network) if subject.part == "model" else None
    module = whole or network
    if subject.backend != "eager":
        module = _compile(subject, module)

    def run(function: Callable[[Tensor], Any]) -> Any:
        with torch.inference_mode(), context():
            return function(_input(subject, images))

    def outputs() -> Outputs:
        if whole is None:
            return {"maps": plain_tensors(run(module))}
        return {
            "maps": plain_tensors(run(whole.maps)),
            "results": plain_tensors(results_of(run(whole))),
        }

    return Prepared(lambda: run(module), outputs)


def _prepare_training(subject: Subject, backbone: nn.Module) -> Prepared:
    module: Any = freeze_norms(_placed(subject, backbone))
    if subject.form != "reference":
        from casvit_dense.deploy import training_form

        module = training_form(module, save_memory=subject.form == "fused-memory")
    images = _input(subject, example(subject, subject.device))
    if subject.backend != "eager":
        compiled_module = _compile(subject, module)
        step = TrainingStep(compiled_module, learned(module), images, autocast_of(subject))
        return Prepared(step, lambda: {"gradients": step.outputs()})
    step = TrainingStep(module, learned(module), images, autocast_of(subject))
    compared = (
        partial(_exact_gradients, module, images) if subject.dtype == "fp32" else step.outputs
    )
    return Prepared(step, lambda: {"gradients": compared()}, step.saved_bytes)


def _exact_gradients(module: nn.Module, images: Tensor) -> list[Tensor]:
    """Gradients in double precision: in single, a ReLU near zero flips by rounding alone."""
    exact = deepcopy(module).double()
    return TrainingStep(exact, learned(exact), images.double()).outputs()


def learned(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that get a gradient, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def plain_tensors(outputs: Any) -> list[Tensor]:
    """All tensors of nested outputs, in fp32 on the CPU, safe from later calls."""
    return [tensor.float().cpu().clone() for tensor in flatten(outputs)]


def _placed(subject: Subject, module: nn.Module) -> nn.Module:
    dtype = TORCH_DTYPES.get(subject.dtype, torch.float32)  # autocast keeps fp32 weights
    module = module.to(subject.device, dtype)
    if subject.memory_format == "channels_last":
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def _input(subject: Subject, images: Tensor) -> Tensor:
    """The images in the form that the weights have."""
    images = images.to(TORCH_DTYPES.get(subject.dtype, torch.float32))
    if subject.memory_format == "channels_last":
        return images.contiguous(memory_format=torch.channels_last)
    return images


def autocast_of(subject: Subject) -> Callable[[], AbstractContextManager[Any]]:
    """The context that a subject's forward pass runs in."""
    if subject.dtype != "autocast":
        return nullcontext
    return lambda: torch.autocast(subject.device)


def _compile(subject: Subject, module: nn.Module) -> Any:
    """Compiles a backbone; of a whole model, the networks but not the choice among detections."""
    forms = (subject.form == "fused", subject.backend == "cudagraphs")
    if not isinstance(module, WholeModel):
        return compiled(module, *forms)
    for part in network_parts(module.model):
        part.forward = compiled(part.forward, *forms)
    return module


def network_parts(model: nn.Module) -> list[nn.Module]:
    """Backbone, neck and heads of an mmdet or mmseg model."""
    roi_head = getattr(model, "roi_head", None)
    owners = [
        (model, ("backbone", "neck", "rpn_head", "bbox_head", "decode_head")),
        (roi_head, ("bbox_head", "mask_head")),
    ]
    found = (getattr(owner, name, None) for owner, names in owners for name in names)
    return [part for part in found if part is not None]


def difference(found: list[Tensor], reference: list[Tensor]) -> float:
    """The worst output's largest difference, relative to the reference's largest value.

    Raises:
        ValueError: number or shapes of the outputs differ.
    """
    shapes = [[tuple(t.shape) for t in outs] for outs in (found, reference)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"outputs are {shapes[0]}, the reference's {shapes[1]}")
    tiny = torch.finfo(torch.float32).tiny
    gaps = [
        (a - b).abs().max() / b.abs().max().clamp_min(tiny)
        for a, b in zip(found, reference, strict=True)
    ]
    return float(torch.stack(gaps).max())  # NaN stays


def tolerance(subject: Subject, kind: str) -> float:
    """How far a subject's outputs of a kind may be from the reference's."""
    if subject.dtype != "fp32":
        return HALF_TOLERANCE
    if kind == "results":
        return RESULTS_TOLERANCE
    rounded = subject.device == "cuda" and torch.backends.cudnn.allow_tf32
    return TF32_TOLERANCE if rounded else TOLERANCE
