"""timm and mmpretrain for tests: imported where only torchvision's binary fails, else skipped."""

import sys
from functools import cache
from importlib import import_module
from types import ModuleType

import pytest
import torch

#: What torchvision's binary would register; it does not load beside another build of torch.
OPERATORS = (
    *("nms", "qnms"),
    *("roi_align", "_roi_align_backward", "roi_pool", "_roi_pool_backward"),
    *("ps_roi_align", "_ps_roi_align_backward", "ps_roi_pool", "_ps_roi_pool_backward"),
    *("deform_conv2d", "_deform_conv2d_backward"),
)


@cache
def _import(package: str) -> ModuleType | Exception:
    try:
        return import_module(package)
    except RuntimeError:  # names of operators that nobody registered
        library = torch.library.Library("torchvision", "DEF")
        for name in OPERATORS:
            library.define(f"{name}(Tensor x) -> Tensor")
        _import.library = library  # type: ignore[attr-defined]  # the names go with it
        for module in [m for m in sys.modules if m.partition(".")[0] in (package, "torchvision")]:
            del sys.modules[module]
        return import_module(package)
    except ImportError as error:
        return error


def timm_or_skip(package: str = "timm") -> ModuleType:
    """timm, or another that needs torchvision; skips the test where it does not import."""
    found = _import(package)
    if isinstance(found, Exception):
        pytest.skip(f"{package} does not import: {found}")
    return found


if __name__ == "__main__":  # casvit-dense's own commands where timm only imports by the trick above
    from casvit_dense.cli import main

    _import("timm")
    sys.exit(main(sys.argv[1:]))
