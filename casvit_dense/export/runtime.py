"""Running a written file outside torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from casvit_dense.errors import UserError
from casvit_dense.export.optional import require

#: A loaded file: one input array to all outputs, in the file's order.
Runtime = Callable[[np.ndarray], list[np.ndarray]]

#: What runs a file when nobody says otherwise, by its suffix.
DEFAULT_BACKENDS = {".onnx": "onnxruntime", ".xml": "openvino", ".pt2": "torch"}


def open_runtime(path: Path, backend: str | None = None, threads: int | None = None) -> Runtime:
    """Loads an exported file for the CPU, in float32.

    Args:
        path: ``.onnx``, OpenVINO ``.xml`` (its ``.bin`` beside it) or ``.pt2``.
        backend: ``'onnxruntime' | 'openvino'`` for ``.onnx``; the others have one runtime each.
        threads: CPU threads; default: what the runtime chooses.

    Returns:
        A function from the input array to the list of output arrays.

    Raises:
        UserError: the file is missing, damaged or of another kind, or the runtime is not
            installed.
    """
    path = Path(path)
    if path.suffix not in DEFAULT_BACKENDS:
        raise UserError(f"{path} is no exported file: expected {', '.join(DEFAULT_BACKENDS)}")
    if not path.is_file():
        raise UserError(f"no exported file {path}")
    backend = backend or DEFAULT_BACKENDS[path.suffix]
    allowed = (
        ("onnxruntime", "openvino") if path.suffix == ".onnx" else (DEFAULT_BACKENDS[path.suffix],)
    )
    if backend not in allowed:
        raise UserError(f"{backend} does not run {path.name}; {' or '.join(allowed)} does")
    return OPENERS[backend](path, threads)


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
        return session.run(None, {name: array})

    return run


def _open_openvino(path: Path, threads: int | None) -> Runtime:
    ov = require("openvino", "openvino")
    # On processors with bfloat16 units the default would be less exact than the written file.
    settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        core = ov.Core()
        model, maps = _maps_channels_last(ov, core.read_model(str(path)))
        compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise UserError(f"{path} cannot be loaded by openvino: {error}") from error

    def run(array: np.ndarray) -> list[np.ndarray]:
        found = compiled([array], share_inputs=True)  # outputs are copies
        outputs = [found[output] for output in compiled.outputs]
        return [
            np.moveaxis(o, -1, 1) if is_map else o for o, is_map in zip(outputs, maps, strict=True)
        ]

    return run


def _maps_channels_last(ov: Any, model: Any) -> tuple[Any, list[bool]]:
    """The model with its maps in the layout that it computes in, and which outputs are maps.

    To lay a map of 48 channels out anew took OpenVINO a fifth of the whole backbone's time.
    """
    maps = [o.partial_shape.rank == ov.Dimension(4) for o in model.outputs]
    steps = ov.preprocess.PrePostProcessor(model)
    for i in (i for i, is_map in enumerate(maps) if is_map):
        steps.output(i).model().set_layout(ov.Layout("NCHW"))
        steps.output(i).tensor().set_layout(ov.Layout("NHWC"))
    return steps.build(), maps


def _open_torch(path: Path, threads: int | None) -> Runtime:
    import torch

    from casvit_dense.export import ops  # noqa: F401  (the operators that a detector's file names)

    try:
        module = torch.export.load(path).module()
    except Exception as error:  # zip, pickle and schema errors of many types
        raise UserError(f"{path} cannot be loaded by torch.export: {error}") from error
    if threads is not None:
        torch.set_num_threads(threads)

    def run(array: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            found = module(torch.from_numpy(array))
        outputs = found if isinstance(found, (tuple, list)) else (found,)
        return [output.numpy() for output in outputs]

    return run


OPENERS: dict[str, Callable[[Path, int | None], Runtime]] = {
    "onnxruntime": _open_onnxruntime,
    "openvino": _open_openvino,
    "torch": _open_torch,
}
