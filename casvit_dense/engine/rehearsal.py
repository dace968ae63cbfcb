"""The backbone tried on its own, so that what does not fit is said before data sets are read."""

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from io import StringIO

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from torch import nn

from casvit_dense.casvit import CASViT
from casvit_dense.checkpoint import init_strictly
from casvit_dense.engine.forms import fold
from casvit_dense.engine.prepare import weight_parts
from casvit_dense.errors import UserError


def rehearse(cfg: Config, aim: str | None) -> list[str]:
    """Builds the backbone, loads its weights and folds it, as the run will, and forgets it.

    The run itself repeats this by the same code on the same file, so that strictness here is
    strictness there, also for backbones that only log what does not fit.

    Args:
        cfg: prepared config after ``set_weights``; its framework's registries must be filled.
        aim: what the backbone is folded for (``--fold``), if it is.

    Returns:
        What was loaded, for backbones that do not log it themselves.

    Raises:
        UserError: the backbone cannot be built, a weight file does not fill it, or it cannot be
            folded.
    """
    files = [part.checkpoint for part in weight_parts(cfg.model.backbone)]
    if not files and aim is None:
        return []
    try:
        backbone: nn.Module = MODELS.build(deepcopy(cfg.model.backbone))
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{cfg.filename} cannot be built: {error}") from error
    said = []
    if files:
        with silence():
            report = init_strictly(backbone, files[-1])
        said = [] if isinstance(backbone, CASViT) else [str(report)]
    if aim is not None:
        fold(backbone, aim)
    return said


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
