"""Image classification: the networks whose weights begin detection and segmentation.

Importing this package, which the configs under ``configs/imagenet`` do, registers its model, data
set, transforms and metric with mmengine.
"""

from casvit_dense.classification.dataset import ImageNetFolder
from casvit_dense.classification.metric import TopAccuracy
from casvit_dense.classification.model import CASViTClassifier, ImageClassifier
from casvit_dense.classification.weights import get_model, list_models

__all__ = [
    "CASViTClassifier",
    "ImageClassifier",
    "ImageNetFolder",
    "TopAccuracy",
    "get_model",
    "list_models",
]
