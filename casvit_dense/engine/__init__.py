"""What we add to mmengine's runner.

Importing this package, which every config of ours does, registers the hooks and timm's backbones,
makes all of mmengine's checkpoint loading safe, and has processes gather results without files.
"""

from casvit_dense.backbones.timm_backbone import TimmBackbone
from casvit_dense.checkpoint import install_safe_loader
from casvit_dense.engine.hooks import BackboneRecordHook, ProgressHook
from casvit_dense.training.finite import FiniteLossHook
from casvit_dense.training.processes import install_gathering

__all__ = ["BackboneRecordHook", "FiniteLossHook", "ProgressHook", "TimmBackbone"]

install_safe_loader()
install_gathering()
