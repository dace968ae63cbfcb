"""Writes a graph in each format, with its description inside."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from casvit_dense.errors import UserError
from casvit_dense.export.description import OPENVINO_SECTION, PT2_ENTRY, Description
from casvit_dense.export.graphs import Graph
from casvit_dense.export.ops import onnx_translations
from casvit_dense.extras import require

#: Suffix of each format.
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2", "coreml": ".mlpackage"}

#: GELU is one operator since 20; written as five, as before, it made ONNX Runtime take a third more
#: time for the fused XS. RoiAlign supports half-pixel coordinates since 16.
OPSET = 20


def write_onnx(graph: Graph, path: Path, example: Tensor, description: Description) -> None:
    """ONNX, with the description in ``metadata_props``."""
    require("onnxscript", "export")
    to_onnx(
        graph,
        path,
        example,
        graph.input_name,
        graph.output_names,
        description.dynamic,
        custom_ops=onnx_translations(),
    )
    describe_onnx(path, description)


def describe_onnx(path: Path, description: Description) -> None:
    """Puts the description into an ONNX file, in place of an earlier one."""
    onnx = require("onnx", "export")
    model = onnx.load(str(path))
    del model.metadata_props[:]
    model.doc_string = f"{description.config}, {description.part}; written by casvit-dense"
    onnx.helper.set_model_props(model, description.to_texts())
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def to_onnx(
    module: nn.Module,
    path: Path,
    example: Tensor,
    input_name: str,
    output_names: Sequence[str],
    dynamic: bool,
    custom_ops: Mapping[Callable[..., Any], Callable[..., Any]] | None = None,
) -> None:
    """Writes a module through torch's exporter; the weights are inside the file.

    Args:
        module: takes one tensor and returns a tensor or a tuple of tensors; in eval mode.
        example: input ``(N, 3, H, W)`` to trace with.
        dynamic: leave height and width open, and the number of images too if the example holds
            more than one; otherwise the file takes the example's shape only.
        custom_ops: ONNX translation of each operator that torch's exporter does not know.
    """
    for package in ("onnx", "onnxscript"):
        require(package, "export")
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            input_names=[input_name],
            output_names=list(output_names),
            dynamic_shapes=(dynamic_dims(example) if dynamic else None,),
            opset_version=OPSET,
            custom_translation_table=dict(custom_ops or {}),
            verbose=False,
        )
        assert program is not None  # the dynamo exporter always returns one
        program.save(path, external_data=False)


def dynamic_dims(example: Tensor) -> dict[int, Any]:
    """The open dimensions of an input: height, width, and the batch if it is more than one."""
    # torch.export treats a traced batch of one as a constant.
    dims = (0, 2, 3) if len(example) > 1 else (2, 3)
    return {dim: Dim.DYNAMIC for dim in dims}


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Suppresses the exporter's notices: missing torchvision, its own deprecations."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def write_openvino(graph: Graph, path: Path, example: Tensor, description: Description) -> None:
    """OpenVINO's ``.xml`` and ``.bin`` by way of ONNX, weights in float32."""
    ov = require("openvino", "openvino")
    between = path.with_suffix(".onnx")
    write_onnx(graph, between, example, description)
    model = ov.convert_model(str(between))
    between.unlink()
    for key, text in description.to_texts().items():
        model.set_rt_info(text, [OPENVINO_SECTION, key])
    try:
        ov.save_model(model, str(path), compress_to_fp16=False)
    except RuntimeError as error:  # "iostream error", without a reason
        raise UserError(f"OpenVINO cannot write {path}: {error}; is the disk full?") from error


def write_torch_export(graph: Graph, path: Path, example: Tensor, description: Description) -> None:
    """An archive of ``torch.export``, with the description among its extra files."""
    shapes = (dynamic_dims(example) if description.dynamic else None,)
    with torch.no_grad():
        program = torch.export.export(graph, (example,), dynamic_shapes=shapes)
    extra = {PT2_ENTRY: json.dumps(description.to_texts())}
    archive = BytesIO()  # torch's own writing to a file aborts the process where the disk is full
    torch.export.save(program, archive, extra_files=extra)
    path.write_bytes(archive.getbuffer())


def write_coreml(graph: Graph, path: Path, example: Tensor, description: Description) -> None:
    """An ML program of fixed size, with the description in the user-defined metadata.

    `exporter.check_coreml_choice` refuses earlier what it cannot hold.
    """
    ct = require("coremltools", "coreml")
    unknown = torch._decomp.get_decompositions([torch.ops.aten.addcmul])  # to coremltools 9
    with torch.no_grad():
        program = torch.export.export(graph, (example,)).run_decompositions(unknown)
    model = ct.convert(
        program,
        inputs=[ct.TensorType(name=graph.input_name, shape=tuple(example.shape))],
        outputs=[ct.TensorType(name=name) for name in graph.output_names],
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    model.short_description = f"{description.config}, {description.part}; written by casvit-dense"
    model.user_defined_metadata.update(description.to_texts())
    model.save(str(path))


#: Writes a graph, traced with an example, into a file; OpenVINO puts a ``.bin`` beside it.
WRITERS: dict[str, Callable[[Graph, Path, Tensor, Description], None]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "torch-export": write_torch_export,
    "coreml": write_coreml,
}


def check_coreml(path: Path, description: Description) -> str:
    """Reads a CoreML package back and checks its structure; it can run on Apple's systems only.

    Returns what was found, in words.
    """
    ct = require("coremltools", "coreml")
    spec = ct.models.MLModel(str(path), skip_model_load=True).get_spec()
    inputs = {x.name: list(x.type.multiArrayType.shape) for x in spec.description.input}
    outputs = [x.name for x in spec.description.output]
    texts = dict(spec.description.metadata.userDefined)
    same = (
        inputs == {description.input_name: list(description.input_shape)}
        and outputs == list(description.outputs)
        and Description.from_texts(texts, path) == description
    )
    if not same:
        raise UserError(f"the written package has inputs {inputs}, outputs {outputs}. No file left")
    return f"read back, not run: input {inputs}, outputs {', '.join(outputs)}"
