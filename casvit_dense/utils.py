"""What mmengine's config hub asks of a package; it fixes the names of this module and its function.

With it ``_base_ = "casvit_dense::retinanet/…"`` and ``mmengine.hub.get_config`` find our configs in
the folder ``.mim`` of the package, as they find those of mmdet.
"""

from importlib import import_module

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import init_default_scope

PACKAGE = "casvit_dense"


def join_config_hub() -> None:
    """Makes mmengine, which has a closed list of packages, look for configs in ours too."""
    if PACKAGE in MODULE2PACKAGE:
        return
    MODULE2PACKAGE[PACKAGE] = PACKAGE
    find = Config._get_cfg_path

    # mmengine builds what comes from another package with that package's registries. We have none:
    # our configs are written for mmdet's or mmseg's and say so by their ``default_scope``.
    def find_without_scope(path: str, filename: str) -> tuple[str, str | None]:
        found, scope = find(path, filename)
        return found, None if scope == PACKAGE else scope

    Config._get_cfg_path = staticmethod(find_without_scope)


def register_all_modules(init_scope: bool = True) -> None:
    """Registers mmdet's and mmseg's modules, for `mmengine.hub.get_model`.

    Args:
        init_scope: look names without a scope up in mmseg. Our detectors carry the scope of mmdet,
            whose bases they inherit; our segmenters carry none.
    """
    for framework in ("mmdet", "mmseg"):
        import_module(f"{framework}.utils").register_all_modules(init_default_scope=False)
    if init_scope:
        init_default_scope("mmseg")
