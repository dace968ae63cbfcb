"""Faster forms of a backbone or model, tested against the plain one."""

from casvit_dense.deploy.fuse import compiled, fuse
from casvit_dense.deploy.training import FoldedCASViT, fold_in_training, training_form

__all__ = [
    "FoldedCASViT",
    "compiled",
    "fold_in_training",
    "fuse",
    "training_form",
]
