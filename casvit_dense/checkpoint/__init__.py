"""Weight files: safe reading, the formats in which CAS-ViT is published, strict loading."""

from casvit_dense.checkpoint.conversion import ConversionReport, convert
from casvit_dense.checkpoint.loading import (
    CASViTWeights,
    LoadReport,
    MisfitError,
    init_strictly,
    load_model,
    load_pretrained,
)
from casvit_dense.checkpoint.reader import install_safe_loader, read_checkpoint
from casvit_dense.checkpoint.training_state import check_fits, read_training_state

__all__ = [
    "CASViTWeights",
    "ConversionReport",
    "LoadReport",
    "MisfitError",
    "check_fits",
    "convert",
    "init_strictly",
    "install_safe_loader",
    "load_model",
    "load_pretrained",
    "read_checkpoint",
    "read_training_state",
]
