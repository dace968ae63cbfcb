"""Exported files (ONNX, OpenVINO, torch.export, CoreML): writing, running and checking them.

`description`, `runtime` and `model` run a file and import nothing that writes one.
"""
