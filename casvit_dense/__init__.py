"""casvit-dense: CAS-ViT for detection and segmentation, with the recipes of its published results.

Importing the package registers the backbone and its weight initialiser with mmengine.
"""

from casvit_dense.casvit import CASViT

__version__ = "0.1.0"

__all__ = ["CASViT", "__version__"]
