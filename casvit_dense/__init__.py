"""casvit-dense: CAS-ViT for detection and segmentation, with the recipes of its published results.

Importing the package takes milliseconds: its names load on first use. It registers the backbone and
its weight initialiser with mmengine, and lets configs inherit from ours
(``_base_ = "casvit_dense::retinanet/…"``): at once where mmengine is imported, or when it will be.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from casvit_dense.utils import register_with_mmengine

if TYPE_CHECKING:
    from casvit_dense.casvit import CASViT
    from casvit_dense.checkpoint import LoadReport, load_pretrained
    from casvit_dense.classification import CASViTClassifier, get_model, list_models
    from casvit_dense.deploy import FoldedCASViT, fuse

__version__ = "0.2.0"

__all__ = [
    "CASViT",
    "CASViTClassifier",
    "FoldedCASViT",
    "LoadReport",
    "__version__",
    "fuse",
    "get_model",
    "list_models",
    "load_pretrained",
]

_MODULES = {
    "CASViT": "casvit",
    "CASViTClassifier": "classification",
    "FoldedCASViT": "deploy",
    "LoadReport": "checkpoint",
    "fuse": "deploy",
    "get_model": "classification",
    "list_models": "classification",
    "load_pretrained": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_with_mmengine()
