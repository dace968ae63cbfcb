"""8-bit integers by ONNX Runtime's own tools."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from casvit_dense.exported.optional import require

#: What is computed in 8 bits; decoding and suppression stay as they are.
QUANTISED = ("Conv", "Gemm", "MatMul")


def quantize(
    source: Path, target: Path, mode: str, name: str, arrays: Iterable[np.ndarray]
) -> None:
    """Writes an 8-bit form of an ONNX file.

    Args:
        source: the float file.
        target: file to write.
        mode: ``'dynamic'``: weights are stored in 8 bits and the range of each input is measured
            while the file runs; ``'static'``: ranges come from calibration, written into the file
            as pairs of QuantizeLinear and DequantizeLinear.
        name: of the file's input.
        arrays: calibration inputs, for ``'static'``.

    Raises:
        UserError: onnxruntime is not installed.
    """
    tools = require("onnxruntime.quantization", "export")
    shape_inference = require("onnxruntime.quantization.shape_inference", "export")
    prepared = target.with_suffix(".prepared.onnx")
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # its hints concern steps that are taken here
    try:
        # The symbolic inference of onnxruntime does not know every operator of the exporter.
        shape_inference.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        if mode == "dynamic":
            tools.quantize_dynamic(prepared, target, op_types_to_quantize=list(QUANTISED))
        else:
            tools.quantize_static(
                *(prepared, target, reader_of(tools, name, arrays)),
                op_types_to_quantize=list(QUANTISED),
                per_channel=True,
                weight_type=tools.QuantType.QInt8,
                activation_type=tools.QuantType.QUInt8,
            )
    finally:
        logging.root.setLevel(level)
        prepared.unlink(missing_ok=True)


def reader_of(tools: object, name: str, arrays: Iterable[np.ndarray]) -> object:
    """Calibration inputs in the form that onnxruntime asks for them."""

    class Reader(tools.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self.arrays: Iterator[np.ndarray] = iter(arrays)

        def get_next(self) -> dict[str, np.ndarray] | None:
            array = next(self.arrays, None)
            return None if array is None else {name: array}

    return Reader()
