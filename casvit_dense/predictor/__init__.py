"""Predictions on images of one's own: by a class in Python, by folders on the command line."""

from casvit_dense.predictor.batch import Summary, predict_files
from casvit_dense.predictor.labels import Labels
from casvit_dense.predictor.model import Predictor
from casvit_dense.predictor.pictures import draw
from casvit_dense.predictor.reading import find_images, read_image

__all__ = [
    "Labels",
    "Predictor",
    "Summary",
    "draw",
    "find_images",
    "predict_files",
    "read_image",
]
