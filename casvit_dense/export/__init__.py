"""Models as files that other programs run: writing, running and checking them."""

from casvit_dense.export.onnx_file import to_onnx
from casvit_dense.exported.runtime import open_runtime

__all__ = ["open_runtime", "to_onnx"]
