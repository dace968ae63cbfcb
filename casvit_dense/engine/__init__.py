"""What we add to mmengine's runner.

Importing this package, which every config of ours does, registers the hooks and makes all of
mmengine's checkpoint loading safe.
"""

from casvit_dense.checkpoint import install_safe_loader
from casvit_dense.engine.hooks import BackboneRecordHook, FiniteLossHook, ProgressHook

__all__ = ["BackboneRecordHook", "FiniteLossHook", "ProgressHook"]

install_safe_loader()
