"""Runs an exported file in ONNX Runtime or OpenVINO."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from casvit_dense.errors import UserError
from casvit_dense.export.description import last_line, weights_beside
from casvit_dense.extras import require

#: A loaded file: from the input array to the output arrays, in the file's order.
Runtime = Callable[[np.ndarray], list[np.ndarray]]

#: What runs a file, by its suffix; the first is the default.
BACKENDS = {".onnx": ("onnxruntime", "openvino"), ".xml": ("openvino",)}


def open_runtime(path: Path, backend: str | None = None, threads: int | None = None) -> Runtime:
    """Loads an exported file for the CPU, in float32.

    Args:
        path: ``.onnx`` or OpenVINO ``.xml`` (its ``.bin`` beside it).
        backend: see `find_backend`.
        threads: CPU threads; default: the runtime's choice.

    Returns:
        A function from the input array to the list of output arrays.

    Raises:
        UserError: what `find_backend` refuses, a damaged file, or a runtime that is not installed.
    """
    return OPENERS[find_backend(path, backend)](Path(path), threads)


def find_backend(path: str | Path, backend: str | None = None) -> str:
    """The name of the runtime for a file, checked before the file is opened.

    Args:
        backend: ``'onnxruntime' | 'openvino'``, both for ``.onnx``; default: the format's own.

    Raises:
        UserError: the file is missing or of another kind, or the backend does not run it.
    """
    path = Path(path)
    if path.suffix == ".pt2":
        raise UserError(
            f"{path} is not run: a torch.export file holds pickled objects, which torch loads "
            "without restriction. Export to onnx or openvino, or, if you trust it, load it "
            "yourself with torch.export.load"
        )
    if path.suffix not in BACKENDS:
        raise UserError(f"{path} is not an exported file: expected {' or '.join(BACKENDS)}")
    if not path.is_file():
        raise UserError(f"no exported file {path}")
    allowed = BACKENDS[path.suffix]
    if backend is not None and backend not in allowed:
        raise UserError(f"{backend} does not run {path.name}; {' or '.join(allowed)} does")
    return backend or allowed[0]


def _open_onnxruntime(path: Path, threads: int | None) -> Runtime:
    ort = require("onnxruntime", "export")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exceptions derive from Exception and RuntimeError
        raise UserError(f"{path} cannot be loaded by onnxruntime: {error}") from error
    name = session.get_inputs()[0].name

    def run(array: np.ndarray) -> list[np.ndarray]:
        try:
            return session.run(None, {name: array})
        except Exception as error:  # a node that cannot be computed, or too little memory
            raise UserError(f"{path} cannot be run by onnxruntime: {last_line(error)}") from error

    return run


def _open_openvino(path: Path, threads: int | None) -> Runtime:
    ov = require("openvino", "openvino")
    if path.suffix == ".xml":
        weights_beside(path)
    # On processors with bfloat16 units the default would be less exact than the written file.
    settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        core = ov.Core()
        model, maps = _maps_channels_last(ov, core.read_model(str(path)))
        compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise UserError(f"{path} cannot be loaded by openvino: {last_line(error)}") from error

    def run(array: np.ndarray) -> list[np.ndarray]:
        try:
            found = compiled([array], share_inputs=True)  # outputs are copies
        except RuntimeError as error:
            raise UserError(f"{path} cannot be run by openvino: {last_line(error)}") from error
        outputs = [found[output] for output in compiled.outputs]
        return [
            np.moveaxis(o, -1, 1) if is_map else o for o, is_map in zip(outputs, maps, strict=True)
        ]

    return run


def _maps_channels_last(ov: Any, model: Any) -> tuple[Any, list[bool]]:
    """The model with feature maps in the layout it computes in, and which outputs are maps.

    Converting a map of 48 channels to NCHW took OpenVINO a fifth of the whole backbone's time.
    """
    maps = [o.partial_shape.rank == ov.Dimension(4) for o in model.outputs]
    steps = ov.preprocess.PrePostProcessor(model)
    for i in (i for i, is_map in enumerate(maps) if is_map):
        steps.output(i).model().set_layout(ov.Layout("NCHW"))
        steps.output(i).tensor().set_layout(ov.Layout("NHWC"))
    return steps.build(), maps


OPENERS: dict[str, Callable[[Path, int | None], Runtime]] = {
    "onnxruntime": _open_onnxruntime,
    "openvino": _open_openvino,
}
