"""Filling the registries of the host frameworks, explicitly."""

from importlib import import_module

from mmengine.config import Config
from mmengine.registry import init_default_scope

from casvit_dense.errors import UserError

#: The frameworks whose models, data sets and metrics our configs name.
SCOPES = ("mmdet", "mmseg")


def use_scope_of(cfg: Config) -> str:
    """Registers the framework that a config is written for and makes it the default scope.

    Args:
        cfg: a loaded config with ``default_scope``.

    Returns:
        The scope, ``'mmdet'`` or ``'mmseg'``.

    Raises:
        UserError: the config names no scope, or one we do not serve.
    """
    scope = cfg.get("default_scope")
    if scope not in SCOPES:
        raise UserError(
            f"{cfg.filename}: default_scope is {scope!r}; set it to {' or '.join(SCOPES)}"
        )
    import_module(f"{scope}.utils").register_all_modules(init_default_scope=False)
    init_default_scope(scope)
    return scope
