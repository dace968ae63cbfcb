"""Weight files: safe reading, the dialects in which CAS-ViT is published, strict loading."""

from casvit_dense.checkpoint.conversion import ConversionReport, convert
from casvit_dense.checkpoint.loading import CASViTWeights, load_model, load_pretrained
from casvit_dense.checkpoint.matching import LoadReport
from casvit_dense.checkpoint.own_initialiser import init_strictly
from casvit_dense.checkpoint.reader import read_checkpoint
from casvit_dense.checkpoint.schemes import install_safe_loader

__all__ = [
    "CASViTWeights",
    "ConversionReport",
    "LoadReport",
    "convert",
    "init_strictly",
    "install_safe_loader",
    "load_model",
    "load_pretrained",
    "read_checkpoint",
]
