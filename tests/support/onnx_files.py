"""ONNX files that nobody exported."""

from pathlib import Path

import pytest


def write_identity(path: Path, texts: dict[str, str]) -> None:
    """An ONNX file of one operator, with these texts inside."""
    onnx = pytest.importorskip("onnx")
    image, same = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, "h", "w"])
        for name in ("image", "same")
    )
    nodes = [onnx.helper.make_node("Identity", ["image"], ["same"])]
    opset = [onnx.helper.make_opsetid("", 20)]
    graph = onnx.helper.make_graph(nodes, "identity", [image], [same])
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.helper.set_model_props(model, texts)
    onnx.save(model, str(path))
