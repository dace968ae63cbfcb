"""The backbone tried on its own, so that what does not fit is said before data sets are read."""

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from io import StringIO

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from torch import nn

from casvit_dense.casvit import CASViT
from casvit_dense.checkpoint import init_strictly
from casvit_dense.engine.forms import fold
from casvit_dense.engine.prepare import weight_parts
from casvit_dense.errors import UserError

#: Shape of the image that is tried: two cells of the coarsest map.
IMAGE = (1, 3, 64, 64)


def rehearse(cfg: Config, aim: str | None) -> list[str]:
    """Builds, tries, fills and folds the backbone as the run will, and forgets it.

    The run itself repeats this by the same code on the same file, so that strictness here is
    strictness there, also for backbones that only log what does not fit.

    Args:
        cfg: prepared config after ``set_weights``; its framework's registries must be filled.
        aim: what the backbone is folded for (``--fold``), if it is.

    Returns:
        What was loaded, for backbones that do not log it themselves.

    Raises:
        UserError: the backbone cannot be built, a weight file does not fill it, its maps are not
            those that the neck expects, or it cannot be folded.
    """
    files = [part.checkpoint for part in weight_parts(cfg.model.backbone)]
    try:
        backbone: nn.Module = MODELS.build(deepcopy(cfg.model.backbone))
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{cfg.filename} cannot be built: {error}") from error
    check_channels(cfg, backbone)
    said = []
    if files:
        with silence():
            report = init_strictly(backbone, files[-1])
        said = [] if isinstance(backbone, CASViT) else [str(report)]
    if aim is not None:
        fold(backbone, aim)
    return said


def check_channels(cfg: Config, backbone: nn.Module) -> None:
    """Holds the maps that a backbone returns against what the neck is told to expect.

    Raises:
        UserError: their numbers or channels differ.
    """
    necks = cfg.model.get("neck")
    first = necks[0] if isinstance(necks, (list, tuple)) else necks
    expected = (first or {}).get("in_channels")
    if not isinstance(expected, (list, tuple)):
        return
    tried = deepcopy(backbone)
    tried.eval()  # of mmdet's backbones some return nothing
    with torch.no_grad():
        maps = tried(torch.zeros(IMAGE))
    found = [feature_map.shape[1] for feature_map in maps]
    if found != list(expected):
        raise UserError(
            f"{cfg.filename}: the backbone returns maps of {found} channels, and "
            f"model.neck.in_channels says {list(expected)}"
        )


@contextmanager
def silence() -> Iterator[None]:
    """Keeps initialisers from telling twice what the run will tell."""
    logger = MMLogger.get_current_instance()
    before, logger.disabled = logger.disabled, True
    try:
        with redirect_stdout(StringIO()):  # mmseg's MSCAN prints
            yield
    finally:
        logger.disabled = before
