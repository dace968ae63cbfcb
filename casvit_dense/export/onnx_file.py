"""Writing a module as one ONNX file."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from casvit_dense.exported.optional import require

#: GELU is one operator since 20. Written as five, as before, it made ONNX Runtime take a third more
#: time for the fused XS; RoiAlign knows half-pixel coordinates since 16.
OPSET = 20


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
        path: the ``.onnx`` file to write.
        example: input ``(N, 3, H, W)`` to trace with.
        input_name: name of the input in the file.
        output_names: names of the outputs in the file.
        dynamic: leave height and width open, and the number of images too where the example
            holds more than one; otherwise the file takes the example's shape only.
        custom_ops: ONNX translation of each operator that torch does not know how to write.

    Raises:
        UserError: onnx or onnxscript is not installed.
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
            dynamic_shapes=(free_sides(example) if dynamic else None,),
            opset_version=OPSET,
            custom_translation_table=dict(custom_ops or {}),
            verbose=False,
        )
        assert program is not None  # the dynamo exporter always returns one
        program.save(path, external_data=False)


def free_sides(example: Tensor) -> dict[int, Any]:
    """The open dimensions of an input: height, width, and the batch if it is more than one."""
    # A traced batch of one is taken for a constant.
    dims = (0, 2, 3) if len(example) > 1 else (2, 3)
    return {dim: Dim.DYNAMIC for dim in dims}


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keeps back what the exporter says of itself: missing torchvision, its own deprecations."""
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
