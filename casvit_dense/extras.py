"""Packages that only some commands need, imported when they are used."""

from importlib import import_module
from typing import Any

from casvit_dense.errors import UserError


def require(module: str, extra: str) -> Any:
    """Imports an optional package.

    Args:
        module: its import name.
        extra: the extra of this project that installs it.

    Raises:
        UserError: it is not installed, or its own import fails.
    """
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise UserError(
            f'{name} cannot be imported ({error}); install it: pip install "casvit-dense[{extra}]"'
        ) from error
    except RuntimeError as error:  # torchvision's, where its binary does not load
        raise UserError(
            f"{module} cannot be imported ({error}): its packages are of builds that do not fit "
            "each other; install torch and torchvision together, from one index"
        ) from error
