"""The 8-bit form of an exported file, by ONNX Runtime's quantisation, and its loss of accuracy."""

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from mmengine.config import Config

from casvit_dense.engine.evaluate import evaluate
from casvit_dense.errors import UserError
from casvit_dense.export.description import Description, read_description
from casvit_dense.export.runtime import open_runtime
from casvit_dense.export.writers import describe_onnx
from casvit_dense.extras import require
from casvit_dense.log import LOG
from casvit_dense.options import RunOptions
from casvit_dense.predictor import Predictor, find_images, read_image
from casvit_dense.predictor.model import test_dataset
from casvit_dense.progress import Progress

#: Operators computed in 8 bits; decoding and NMS stay in float32.
QUANTIZED = ("Conv", "Gemm", "MatMul")

#: Images for calibration, and images on which both forms are evaluated.
CALIBRATION_IMAGES = 64
EVALUATION_IMAGES = 200

#: Keys by which the data sets of mmdet and of mmseg name their image folder.
PREFIXES = ("img", "img_path")

Log = Callable[[str], None]


def write_int8(
    predictor: Predictor,
    source: Path,
    target: Path,
    description: Description,
    mode: str,
    calibration: Path | None,
    log: Log,
) -> None:
    """Quantises a file.

    Args:
        calibration: folder of images for ``'static'``; default: the config's test images.
    """
    arrays: Iterable[np.ndarray] = ()
    if mode == "static":
        images = find_images([calibration]) if calibration else data_images(predictor.cfg)
        if not images:
            raise UserError("--int8 static needs images: give --calibration FOLDER or --data-root")
        images = images[:CALIBRATION_IMAGES]
        inputs = network_inputs(predictor, images, description)
        arrays = Progress("calibration image", len(images), seconds=5.0).track(inputs, log)
    log(f"quantising, {mode} ...")
    quantize(source, target, mode, description.input_name, arrays)
    describe_onnx(target, description)


def quantize(
    source: Path, target: Path, mode: str, name: str, arrays: Iterable[np.ndarray]
) -> None:
    """Writes an 8-bit form of an ONNX file.

    Args:
        mode: ``'dynamic'``: weights are stored in 8 bits and the range of each input is measured
            while the file runs; ``'static'``: ranges come from calibration, written into the file
            as pairs of QuantizeLinear and DequantizeLinear.
    """
    tools = require("onnxruntime.quantization", "export")
    shape_inference = require("onnxruntime.quantization.shape_inference", "export")
    prepared = target.with_suffix(".prepared.onnx")
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # its hints name steps that are done here
    try:
        # onnxruntime's symbolic inference does not know every operator of the exporter.
        shape_inference.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        if mode == "dynamic":
            tools.quantize_dynamic(prepared, target, op_types_to_quantize=list(QUANTIZED))
        else:
            tools.quantize_static(
                prepared,
                target,
                calibration_reader(tools, name, arrays),
                op_types_to_quantize=list(QUANTIZED),
                per_channel=True,
                weight_type=tools.QuantType.QInt8,
                activation_type=tools.QuantType.QUInt8,
            )
    finally:
        logging.root.setLevel(level)
        prepared.unlink(missing_ok=True)


def calibration_reader(tools: object, name: str, arrays: Iterable[np.ndarray]) -> object:
    """Calibration inputs behind onnxruntime's interface."""

    class Reader(tools.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self.arrays: Iterator[np.ndarray] = iter(arrays)

        def get_next(self) -> dict[str, np.ndarray] | None:
            array = next(self.arrays, None)
            return None if array is None else {name: array}

    return Reader()


def report_cost(
    predictor: Predictor, cfg: Config, files: dict[str, Path], options: RunOptions, log: Log
) -> None:
    """Reports what the 8-bit form loses: metrics if the test data are there, else outputs.

    Args:
        files: the float file and the 8-bit file, by their titles.
        options: of the evaluation; its work directory takes the results.
    """
    images = data_images(predictor.cfg)
    if not images:
        log("no test data: the change of accuracy is not known. " + output_change(files))
        return
    options.cfg_options = {
        **options.cfg_options,
        "test_dataloader.dataset.indices": EVALUATION_IMAGES,
    }
    count = min(len(images), EVALUATION_IMAGES)
    log(f"evaluating {' and '.join(files)} on {count} test images ...")
    level = LOG.level
    LOG.setLevel(logging.WARNING)  # the metrics are reported below
    try:
        before, after = (evaluate(cfg, file, options) for file in files.values())
    finally:
        LOG.setLevel(level)
    for name, value in before.items():
        log(f"{name}: {value:.4g} -> {after[name]:.4g}")


def output_change(files: dict[str, Path]) -> str:
    """Difference of the first output on noise, in words."""
    description = read_description(next(iter(files.values())))
    noise = np.random.default_rng(0).uniform(0, 255, description.input_shape).astype(np.float32)
    first, second = (open_runtime(file)(noise)[0] for file in files.values())
    name = next(iter(description.outputs))
    if first.shape != second.shape:
        return f"On noise {name} has {len(second)} rows instead of {len(first)}"
    gap = np.abs(first - second).mean() / max(np.abs(first).mean(), 1e-12)
    return f"On noise {name} differs by {gap:.2%} on average"


def data_images(cfg: Config) -> list[Path]:
    """Image files of the config's test data, sorted; none if the data are not there."""
    dataset = test_dataset(cfg)
    prefix = dataset.get("data_prefix") or {}
    folders = [prefix[key] for key in PREFIXES if key in prefix]
    folder = Path(dataset.get("data_root") or "", *folders[:1])
    present = bool(folders) and folder.is_dir() and any(folder.iterdir())
    return find_images([folder]) if present else []


def network_inputs(
    predictor: Predictor, images: Iterable[Path], description: Description
) -> Iterator[np.ndarray]:
    """The file's input for each image, after the test pipeline: ``(1, 3, H, W)``, float32."""
    for path in images:
        inputs = predictor.pipeline({"img": read_image(path), "img_id": 0})["inputs"]
        if not description.dynamic and tuple(inputs.shape[1:]) != description.input_shape[2:]:
            raise UserError(f"{path}: the test pipeline gives another size than the file takes")
        ordered = inputs.flip(0) if description.channel_order == "RGB" else inputs
        yield np.ascontiguousarray(ordered[None].numpy(), dtype=np.float32)
