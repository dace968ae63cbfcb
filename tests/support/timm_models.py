"""timm for tests: imported where only torchvision's binary fails, skipped where it is not there."""

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
def _import_timm() -> ModuleType | Exception:
    try:
        return import_module("timm")
    except RuntimeError:  # names of operators that nobody registered
        library = torch.library.Library("torchvision", "DEF")
        for name in OPERATORS:
            library.define(f"{name}(Tensor x) -> Tensor")
        _import_timm.library = library  # type: ignore[attr-defined]  # the names go with it
        for module in [m for m in sys.modules if m.partition(".")[0] in ("timm", "torchvision")]:
            del sys.modules[module]
        return import_module("timm")
    except ImportError as error:
        return error


def timm_or_skip() -> ModuleType:
    """timm; the test that asks is skipped where it does not import."""
    timm = _import_timm()
    if isinstance(timm, Exception):
        pytest.skip(f"timm does not import: {timm}")
    return timm


if __name__ == "__main__":  # casvit-dense's own commands where timm only imports by the trick above
    from casvit_dense.cli import main

    _import_timm()
    sys.exit(main(sys.argv[1:]))
