"""From a benchmark case to something that can be called and timed, by torch or as a file."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from casvit_dense.benchmark.cases import RUNTIMES, BenchmarkCase
from casvit_dense.benchmark.machine import TORCH_DTYPES
from casvit_dense.benchmark.networks import (
    TrainingStep,
    WholeModel,
    build,
    data_samples,
    example,
    flatten,
    freeze_norms,
    learned,
    results_of,
    saved_bytes,
)
from casvit_dense.deploy import compiled
from casvit_dense.errors import UserError

#: Largest difference from the reference, relative to an output's largest value.
TOLERANCE = 1e-4
HALF_TOLERANCE = 0.1  # factors of 8 or 11 bits, rounded after every layer
# Of many almost equal candidates, rounding decides which are detected.
RESULTS_TOLERANCE = 0.01

Outputs = dict[str, list[Tensor]]


@dataclass
class Prepared:
    """A case that is ready.

    Attributes:
        call: what is timed: from a contiguous fp32 input to the outputs.
        outputs: what is compared with the reference, by kind, the most telling first: ``maps``,
            ``gradients``, or ``results`` of a whole model; fp32 tensors on the CPU.
        saved_bytes: in training, what the forward pass keeps for the backward one.
    """

    call: Callable[[], Any]
    outputs: Callable[[], Outputs]
    saved_bytes: Callable[[], int] | None = None


def prepare(case: BenchmarkCase, threads: int, folder: Path) -> Prepared:
    """Builds a case; anything may be raised, by a missing package or a step that fails.

    ``threads`` are those of runtimes that are not torch; ``folder`` keeps exported files for other
    cases of the same form.
    """
    network = build(case)
    if case.mode == "train":
        return _prepare_training(case, network)
    if case.form == "fused":
        from casvit_dense.deploy import fuse

        network = fuse(network)
    if case.backend in RUNTIMES:
        return _prepare_runtime(case, network, threads, folder)
    return _prepare_torch(case, network)


def _prepare_torch(case: BenchmarkCase, network: nn.Module) -> Prepared:
    network = _placed(case, network)
    images = example(case, case.device)
    context = autocast_of(case)
    whole = WholeModel(network) if case.part == "model" else None
    module = whole or network
    if case.backend != "eager":
        module = _compile(case, module)

    def run(function: Callable[[Tensor], Any]) -> Any:
        with torch.inference_mode(), context():
            return function(_input(case, images))

    def outputs() -> Outputs:
        if whole is None:
            return {"maps": plain_tensors(run(module))}
        return {
            "maps": plain_tensors(run(whole.maps)),
            "results": plain_tensors(results_of(run(whole))),
        }

    return Prepared(lambda: run(module), outputs)


def _prepare_training(case: BenchmarkCase, backbone: nn.Module) -> Prepared:
    module: Any = freeze_norms(_placed(case, backbone))
    if case.form != "reference":
        from casvit_dense.deploy import training_form

        module = training_form(module, save_memory=case.form == "fused-memory")
    eager = case.backend == "eager"
    step = TrainingStep(
        module if eager else _compile(case, module),
        learned(module),
        example(case, case.device),
        autocast_of(case),
        partial(_input, case),
    )
    if not eager:  # the compiler keeps what it likes, where no hook can look
        return Prepared(step, lambda: {"gradients": step.outputs()})
    compared = step.exact_outputs if case.dtype == "fp32" else step.outputs
    return Prepared(step, lambda: {"gradients": compared()}, partial(saved_bytes, step.forward))


def plain_tensors(outputs: Any) -> list[Tensor]:
    """All tensors of nested outputs, in fp32 on the CPU, safe from later calls."""
    return [tensor.float().cpu().clone() for tensor in flatten(outputs)]


def _placed(case: BenchmarkCase, module: nn.Module) -> nn.Module:
    dtype = TORCH_DTYPES.get(case.dtype, torch.float32)  # autocast keeps fp32 weights
    module = module.to(case.device, dtype)
    if case.memory_format == "channels_last":
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def _input(case: BenchmarkCase, images: Tensor) -> Tensor:
    """The images in the form that the weights have."""
    images = images.to(TORCH_DTYPES.get(case.dtype, torch.float32))
    if case.memory_format == "channels_last":
        return images.contiguous(memory_format=torch.channels_last)
    return images


def autocast_of(case: BenchmarkCase) -> Callable[[], AbstractContextManager[Any]]:
    """The context that a case's forward pass runs in."""
    if case.dtype != "autocast":
        return nullcontext
    return lambda: torch.autocast(case.device)


def _compile(case: BenchmarkCase, module: nn.Module) -> Any:
    """Compiles a backbone; of a whole model, the networks but not the choice among detections."""
    forms = (case.form == "fused", case.backend == "cudagraphs")
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


def tolerance(case: BenchmarkCase, kind: str) -> float:
    """How far a case's outputs of a kind may be from the reference's."""
    if case.dtype != "fp32":
        return HALF_TOLERANCE
    if kind == "results":
        return RESULTS_TOLERANCE
    return TOLERANCE


def _prepare_runtime(
    case: BenchmarkCase, network: nn.Module, threads: int, folder: Path
) -> Prepared:
    """Writes a network as ONNX, where ``folder`` does not hold it, and opens it.

    The file of a whole model normalises by itself, and masks are pasted after it.
    """
    from casvit_dense.export.graphs import graph_of
    from casvit_dense.export.ops import onnx_translations
    from casvit_dense.export.runtime import open_runtime
    from casvit_dense.export.writers import to_onnx

    path = folder / f"{case.form}.onnx"
    images = example(case)
    if case.part == "backbone":
        if not path.exists():
            with torch.no_grad():
                maps = [f"map{i}" for i in range(len(network(images)))]
            to_onnx(network, path, images, "images", maps, dynamic=False)
        run, array = open_runtime(path, case.backend, threads), images.numpy()
        return Prepared(
            lambda: run(array),
            lambda: {"maps": plain_tensors([torch.from_numpy(m) for m in run(array)])},
        )
    graph: Any = graph_of(network)
    if case.batch > 1 and not graph.any_batch:
        raise UserError(f"the file of {case.name} takes one image at a time")
    images = images * graph.std + graph.mean
    names, operators = graph.output_names, onnx_translations()
    if not path.exists():
        to_onnx(graph, path, images, graph.input_name, names, dynamic=False, custom_ops=operators)
    run, array = open_runtime(path, case.backend, threads), images.numpy()
    finish = _finisher(network, images)

    def call() -> list[Any]:
        return finish(dict(zip(names, map(torch.from_numpy, run(array)), strict=True)))

    return Prepared(call, lambda: {"results": plain_tensors(results_of(call()))})


def _finisher(model: Any, images: Tensor) -> Callable[[dict[str, Tensor]], list[Any]]:
    """What turns a file's outputs into predictions of the images' size."""
    from casvit_dense.export.model import to_det_sample, to_seg_sample

    rcnn = model.test_cfg.get("rcnn", model.test_cfg)
    description: Any = SimpleNamespace(
        mask_thr=rcnn.get("mask_thr_binary"), align_corners=getattr(model, "align_corners", None)
    )
    if not hasattr(model, "decode_head"):
        (sample,) = data_samples(model, images)
        return lambda outputs: [to_det_sample(outputs, sample, description)]

    def segment(outputs: dict[str, Tensor]) -> list[Any]:
        return [
            to_seg_sample({"logits": logits[None]}, sample, description)
            for logits, sample in zip(outputs["logits"], data_samples(model, images), strict=True)
        ]

    return segment
