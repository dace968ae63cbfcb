"""How mmengine finds our modules and configs. Its config hub fixes the name of this module.

mmengine and torch take seconds to import, which the command line must not wait for: nothing here
imports mmengine before somebody else does.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, cast

PACKAGE = "casvit_dense"
#: Importing them registers the backbone, its folded form and its weight initialiser.
REGISTERING = ("casvit_dense.casvit", "casvit_dense.checkpoint", "casvit_dense.deploy")


def register_with_mmengine() -> None:
    """Registers now if mmengine is imported already, else right after its import."""
    if "mmengine" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, cast(Any, _Finder()))


def _register() -> None:
    join_config_hub()
    for name in REGISTERING:
        import_module(name)


# Neither class derives from those of `importlib.abc`, which import much.
class _Finder:
    """Watches the imports of mmengine and of our own modules, and registers after the outermost.

    Attributes:
        depth: imports of them that are not finished; some of our modules import mmengine.
    """

    depth = 0

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that other finders give, with a loader that tells this one."""
        if name not in ("mmengine", *REGISTERING):
            return None
        for finder in sys.meta_path:
            spec = None if finder is cast(Any, self) else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = cast(Any, _Loader(spec.loader, self))
                return spec
        return None

    def finished(self) -> None:
        """Registers when no import is left."""
        if self.depth == 0 and self in sys.meta_path:
            sys.meta_path.remove(cast(Any, self))
            _register()


class _Loader:
    def __init__(self, loader: Any, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._finder.depth += 1
        try:
            self._loader.exec_module(module)
        finally:
            self._finder.depth -= 1
        self._finder.finished()


def join_config_hub() -> None:
    """Makes mmengine, which has a closed list of packages, look for configs in ours too.

    With it ``_base_ = "casvit_dense::retinanet/…"`` and ``mmengine.hub.get_config`` find our
    configs in the folder ``.mim`` of the package, as they find those of mmdet.
    """
    from pathlib import Path

    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    if PACKAGE in MODULE2PACKAGE:
        return
    MODULE2PACKAGE[PACKAGE] = PACKAGE
    find_by_metafile = Config._get_cfg_path

    # For each base mmengine reads the hundred metafiles of its package: 0.3 s, and some configs
    # have four bases. We look at the place where all packages keep their configs first.
    def find_config(path: str, filename: str) -> tuple[str, str | None]:
        scope, _, name = path.rpartition("::")
        package = find_spec(scope) if scope in MODULE2PACKAGE else None
        for folder in (package and package.submodule_search_locations) or ():
            if (file := Path(folder, ".mim", "configs", name)).is_file():
                found = str(file)
                break
        else:
            found, scope = find_by_metafile(path, filename)
        # mmengine builds what comes from another package with that package's registries. We have
        # none: our configs are written for mmdet's or mmseg's and say so by ``default_scope``.
        return found, None if scope == PACKAGE else scope

    Config._get_cfg_path = staticmethod(find_config)


def register_all_modules(init_scope: bool = True) -> None:
    """Registers mmdet's and mmseg's modules, for `mmengine.hub.get_model`, which fixes its name.

    Args:
        init_scope: look names without a scope up in mmseg. Our detectors carry the scope of mmdet,
            whose bases they inherit; our segmenters carry none.
    """
    from mmengine.registry import init_default_scope

    for framework in ("mmdet", "mmseg"):
        import_module(f"{framework}.utils").register_all_modules(init_default_scope=False)
    if init_scope:
        init_default_scope("mmseg")
