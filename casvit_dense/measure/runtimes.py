"""Subjects that run as exported files."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from casvit_dense.errors import UserError
from casvit_dense.export import open_runtime, to_onnx
from casvit_dense.export.ops import onnx_translations
from casvit_dense.export.supported import graph_of
from casvit_dense.exported.model import finish_detections, finish_maps
from casvit_dense.measure.backends import Outputs, Prepared, plain_tensors
from casvit_dense.measure.networks import data_samples, example, results_of
from casvit_dense.measure.subject import Subject


def prepare_runtime(subject: Subject, network: nn.Module, threads: int, folder: Path) -> Prepared:
    """Writes a network as ONNX, where ``folder`` does not hold it, and opens it.

    Args:
        subject: says what runs the file, and the input.
        network: backbone or whole model in eval mode.
        threads: CPU threads of the runtime.
        folder: keeps the file for other subjects of the same form.

    Raises:
        Exception: anything that export or the runtime raises.
    """
    path = folder / f"{subject.form}.onnx"
    if subject.part == "model":
        return _prepare_model(subject, network, threads, path)
    images = example(subject)
    if not path.exists():
        with torch.no_grad():
            names = [f"map{i}" for i in range(len(network(images)))]
        to_onnx(network, path, images, "images", names, dynamic=False)
    run = open_runtime(path, subject.backend, threads)
    array = images.numpy()
    return Prepared(
        lambda: run(array), lambda: {"maps": plain_tensors(list(map(torch.from_numpy, run(array))))}
    )


def _prepare_model(subject: Subject, model: Any, threads: int, path: Path) -> Prepared:
    """A whole model: the file normalises by itself, and masks are pasted after it."""
    graph: Any = graph_of(model)
    if subject.batch > 1 and not graph.any_batch:
        raise UserError(f"the file of {subject.name} takes one image at a time")
    images = example(subject) * graph.std + graph.mean
    if not path.exists():
        to_onnx(
            *(graph, path, images, graph.input_name, graph.output_names, False),
            custom_ops=onnx_translations(),
        )
    run = open_runtime(path, subject.backend, threads)
    finish = _finisher(model, images)
    array, names = images.numpy(), graph.output_names

    def call() -> list[Any]:
        return finish(dict(zip(names, map(torch.from_numpy, run(array)), strict=True)))

    def outputs() -> Outputs:
        return {"results": plain_tensors(results_of(call()))}

    return Prepared(call, outputs)


def _finisher(model: Any, images: Tensor) -> Callable[[dict[str, Tensor]], list[Any]]:
    """What turns a file's outputs into predictions of the images' size."""
    rcnn = model.test_cfg.get("rcnn", model.test_cfg)
    about: Any = SimpleNamespace(
        mask_thr=rcnn.get("mask_thr_binary"), align_corners=getattr(model, "align_corners", None)
    )
    if not hasattr(model, "decode_head"):
        (sample,) = data_samples(model, images)
        return lambda outputs: [finish_detections(outputs, sample, about)]

    def segment(outputs: dict[str, Tensor]) -> list[Any]:
        return [
            finish_maps({"logits": logits[None]}, sample, about)
            for logits, sample in zip(outputs["logits"], data_samples(model, images), strict=True)
        ]

    return segment
