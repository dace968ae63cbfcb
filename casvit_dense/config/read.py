"""Reading a config file, and filling the registries of the framework that it is for."""

from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Final

from mmengine.config import Config
from mmengine.registry import init_default_scope

from casvit_dense.errors import UserError
from casvit_dense.files import CONFIG_SUFFIXES, config_folder
from casvit_dense.log import log_entry

#: The frameworks whose models, data sets and metrics configs may name; classifiers are ours, and
#: have the scope of mmengine alone.
SCOPES: Final = ("mmdet", "mmseg", "mmengine")


def read_config(path: str | Path, trusted_only: bool = False) -> Config:
    """Reads a config file, which runs as a program.

    Args:
        path: of the file.
        trusted_only: refuse a file that does not belong to the project.

    Raises:
        UserError: there is no such file, it cannot be parsed, or it is not trusted.
    """
    if not Path(path).is_file():
        raise UserError(f"no config file {path}")
    if Path(path).suffix not in CONFIG_SUFFIXES:
        raise UserError(
            f"{path} is not a config file ({', '.join(CONFIG_SUFFIXES)}); the config is the "
            "first argument"
        )
    if not Path(path).resolve().is_relative_to(config_folder().resolve()):
        if trusted_only:
            raise UserError(
                f"--trusted-configs-only: {path} is not among the project's configs "
                f"({config_folder()}), and reading it would run its code"
            )
        log_entry("code", f"{path} is from outside the project; reading a config runs its code")
    try:
        return Config.fromfile(str(path))
    except ImportError as error:  # mmengine's message leaves the cause out
        raise UserError(
            f"{path}: custom_imports: {first_cause(error)}. A module of yours must be installed or "
            "its folder be on PYTHONPATH"
        ) from error
    except Exception as error:  # a config file is a program and may raise anything
        raise UserError(f"{path}: {type(error).__name__}: {error}") from error


def check_dense(cfg: Config, what: str) -> None:
    """Refuses a classifier where it cannot be used.

    Args:
        cfg: a config as it was read.
        what: is for detectors and segmenters, for the message.

    Raises:
        UserError: the config is of a classifier.
    """
    if cfg.get("default_scope") == "mmengine":
        raise UserError(
            f"{cfg.filename} is of a classifier, {what} is for detectors and segmenters: "
            "casvit-dense classify names what images show, and test evaluates a folder for each "
            "class, --data-root DIR"
        )


def first_cause(error: BaseException) -> BaseException:
    """The first error of a chain: what was raised before the others."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error


def register_scope(cfg: Config) -> str:
    """Registers the framework that a config is written for and makes it the default scope.

    Returns:
        The scope, one of `SCOPES`.

    Raises:
        UserError: the config names no scope, or an unknown one.
    """
    scope = cfg.get("default_scope")
    if scope not in SCOPES:
        raise UserError(
            f"{cfg.filename}: default_scope is {scope!r}; set it to {' or '.join(SCOPES)}"
        )
    register_modules(scope)
    init_default_scope(scope)
    if scope == "mmdet":
        import_module("casvit_dense.config.coco_api").read_by_us()
    return scope


def register_modules(scope: str) -> None:
    """Fills the registries of a framework, and adds what is ours."""
    import_module("casvit_dense.engine")  # by name, as configs do: this room knows nothing of it
    if scope == "mmengine":
        import_module("casvit_dense.classification.register")
        return
    with redirect_stdout(None):  # mmdet prints that it misses a package which few data sets need
        import_module(f"{scope}.utils").register_all_modules(init_default_scope=False)
