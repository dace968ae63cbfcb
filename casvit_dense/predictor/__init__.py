"""Predicts on images: by a class in Python, by folders on the command line."""

from casvit_dense.predictor.drawing import draw
from casvit_dense.predictor.images import find_images, read_image
from casvit_dense.predictor.model import Labels, Predictor
from casvit_dense.predictor.results import Summary, predict_files

__all__ = [
    "Labels",
    "Predictor",
    "Summary",
    "draw",
    "find_images",
    "predict_files",
    "read_image",
]
