"""Writing a graph in each format, with its description inside."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from casvit_dense.errors import UserError
from casvit_dense.export.graphs import Graph
from casvit_dense.export.onnx_file import free_sides, to_onnx
from casvit_dense.export.ops import onnx_translations
from casvit_dense.exported.description import OPENVINO_SECTION, PT2_ENTRY, Description
from casvit_dense.exported.optional import require

#: Suffix of each format.
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2", "coreml": ".mlpackage"}


def write_graph(graph: Graph, form: str, path: Path, example: Tensor, about: Description) -> None:
    """Writes a graph.

    Args:
        graph: in eval mode.
        form: a key of `SUFFIXES`.
        path: the file to write; OpenVINO puts a ``.bin`` beside it.
        example: input to trace with.
        about: goes into the file; says whether height and width are open.

    Raises:
        UserError: a package is missing, or the format cannot hold this graph.
    """
    WRITERS[form](graph, path, example, about)


def write_onnx(graph: Graph, path: Path, example: Tensor, about: Description) -> None:
    """ONNX; the description stands in ``metadata_props``."""
    require("onnxscript", "export")
    to_onnx(
        *(graph, path, example, graph.input_name, graph.output_names, about.dynamic),
        custom_ops=onnx_translations(),
    )
    describe_onnx(path, about)


def describe_onnx(path: Path, about: Description) -> None:
    """Puts the description into an ONNX file, in place of an earlier one."""
    onnx = require("onnx", "export")
    model = onnx.load(str(path))
    del model.metadata_props[:]
    model.doc_string = f"{about.config}, {about.part}; written by casvit-dense"
    onnx.helper.set_model_props(model, about.to_texts())
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def write_openvino(graph: Graph, path: Path, example: Tensor, about: Description) -> None:
    """OpenVINO's ``.xml`` and ``.bin`` by way of ONNX, numbers kept in 32 bits."""
    ov = require("openvino", "openvino")
    between = path.with_suffix(".onnx")
    write_onnx(graph, between, example, about)
    model = ov.convert_model(str(between))
    between.unlink()
    for key, text in about.to_texts().items():
        model.set_rt_info(text, [OPENVINO_SECTION, key])
    ov.save_model(model, str(path), compress_to_fp16=False)


def write_torch_export(graph: Graph, path: Path, example: Tensor, about: Description) -> None:
    """An archive of ``torch.export``; the description is one of its extra files."""
    import json

    shapes = (free_sides(example) if about.dynamic else None,)
    with torch.no_grad():
        program = torch.export.export(graph, (example,), dynamic_shapes=shapes)
    extra = {PT2_ENTRY: json.dumps(about.to_texts())}
    torch.export.save(program, str(path), extra_files=extra)


def write_coreml(graph: Graph, path: Path, example: Tensor, about: Description) -> None:
    """An ML program of fixed size; the description stands in the user's metadata.

    What it cannot hold is refused earlier, by `job.check_coreml_choice`.
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
    model.short_description = f"{about.config}, {about.part}; written by casvit-dense"
    model.user_defined_metadata.update(about.to_texts())
    model.save(str(path))


WRITERS: dict[str, Callable[[Graph, Path, Tensor, Description], None]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "torch-export": write_torch_export,
    "coreml": write_coreml,
}


def check_coreml(path: Path, about: Description) -> str:
    """Reads a CoreML package back: it runs on Apple's systems only, so its structure must do.

    Returns:
        What was found, in words.

    Raises:
        UserError: names, shapes or description differ from what was to be written.
    """
    ct = require("coremltools", "coreml")
    spec = ct.models.MLModel(str(path), skip_model_load=True).get_spec()
    inputs = {x.name: list(x.type.multiArrayType.shape) for x in spec.description.input}
    outputs = [x.name for x in spec.description.output]
    texts = dict(spec.description.metadata.userDefined)
    same = (
        inputs == {about.input_name: about.input_shape}
        and outputs == list(about.outputs)
        and Description.from_texts(texts, path) == about
    )
    if not same:
        raise UserError(f"the written package has inputs {inputs}, outputs {outputs}. No file left")
    return f"read back, not run: input {inputs}, outputs {', '.join(outputs)}"
