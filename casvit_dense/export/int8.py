"""The 8-bit form of a checked file, and what it costs in accuracy."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from casvit_dense.engine.hooks import Progress
from casvit_dense.engine.launch import test
from casvit_dense.engine.options import RunOptions
from casvit_dense.errors import UserError
from casvit_dense.export.images import data_images, network_inputs
from casvit_dense.export.quantize import quantize
from casvit_dense.export.writers import describe_onnx
from casvit_dense.exported.description import Description, read_description
from casvit_dense.exported.runtime import open_runtime
from casvit_dense.predictor import Predictor, find_images

#: Images that ranges are taken from, and images that both forms are evaluated on.
CALIBRATION_IMAGES = 64
EVALUATION_IMAGES = 200

Say = Callable[[str], None]
Item = TypeVar("Item")


def write_int8(
    predictor: Predictor,
    source: Path,
    target: Path,
    about: Description,
    mode: str,
    calibration: Path | None,
    say: Say,
) -> None:
    """Quantises a file.

    Args:
        predictor: model and pipeline of the file.
        source: the float file.
        target: file to write.
        about: description of the new file.
        mode: ``'dynamic' | 'static'``.
        calibration: folder of images for ``'static'``; default: the config's test images.
        say: takes each line for the user.

    Raises:
        UserError: there are no images to calibrate with.
    """
    arrays: Iterable[np.ndarray] = ()
    if mode == "static":
        images = find_images([calibration]) if calibration else data_images(predictor.cfg)
        if not images:
            raise UserError("--int8 static needs images: give --calibration FOLDER or --data-root")
        images = images[:CALIBRATION_IMAGES]
        inputs = network_inputs(predictor, images, about)
        arrays = counted(inputs, "calibration image", len(images), say)
    say(f"quantising, {mode} ...")
    quantize(source, target, mode, about.input_name, arrays)
    describe_onnx(target, about)


def report_cost(
    predictor: Predictor, config: str | Path, files: dict[str, Path], options: RunOptions, say: Say
) -> None:
    """Says what the 8-bit form loses: metrics where the test data are there, else outputs.

    Args:
        predictor: model and pipeline of both files.
        config: their config.
        files: the float file and the 8-bit file, by what to call them.
        options: of the evaluation; its work directory takes what evaluation leaves.
        say: takes each line for the user.
    """
    images = data_images(predictor.cfg)
    if not images:
        say("no test data: the change of accuracy is not known. " + output_change(files))
        return
    options.cfg_options = {
        **options.cfg_options,
        "test_dataloader.dataset.indices": EVALUATION_IMAGES,
        "log_level": "WARNING",  # the numbers are said below
    }
    count = min(len(images), EVALUATION_IMAGES)
    say(f"evaluating {' and '.join(files)} on {count} test images ...")
    before, after = (test(config, file, options) for file in files.values())
    for name, value in before.items():
        say(f"{name}: {value:.4g} -> {after[name]:.4g}")


def output_change(files: dict[str, Path]) -> str:
    """Difference of the first output on noise, in words."""
    about = read_description(next(iter(files.values())))
    noise = np.random.default_rng(0).uniform(0, 255, about.input_shape).astype(np.float32)
    first, second = (open_runtime(file)(noise)[0] for file in files.values())
    name = next(iter(about.outputs))
    if first.shape != second.shape:
        return f"On noise {name} has {len(second)} rows instead of {len(first)}"
    gap = np.abs(first - second).mean() / max(np.abs(first).mean(), 1e-12)
    return f"On noise {name} differs by {gap:.2%} on average"


def counted(items: Iterable[Item], name: str, total: int, say: Say) -> Iterator[Item]:
    """The items, with a line of progress every few seconds."""
    progress = Progress(name, total, seconds=5.0)
    for item in items:
        yield item
        line = progress.step()
        if line is not None:
            say(line)
