"""casvit-dense: CAS-ViT for detection and segmentation, with the recipes of its published results.

Importing the package registers the backbone and its weight initialiser with mmengine, and lets
configs inherit from ours: ``_base_ = "casvit_dense::retinanet/…"``.
"""

from casvit_dense.casvit import CASViT
from casvit_dense.checkpoint import LoadReport, load_pretrained
from casvit_dense.classifier import CASViTClassifier, get_model
from casvit_dense.deploy import FoldedCASViT, fuse
from casvit_dense.utils import join_config_hub

__version__ = "0.1.0"

__all__ = [
    "CASViT",
    "CASViTClassifier",
    "FoldedCASViT",
    "LoadReport",
    "__version__",
    "fuse",
    "get_model",
    "load_pretrained",
]

join_config_hub()
