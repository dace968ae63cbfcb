"""What we add to mmengine's runner.

Importing this package, which every config of ours does, registers the hooks and makes all of
mmengine's checkpoint loading safe.
"""

from casvit_dense.checkpoint import install_safe_loader
from casvit_dense.engine.hooks import ProgressHook

__all__ = ["ProgressHook"]

install_safe_loader()
