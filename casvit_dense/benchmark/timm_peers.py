"""Backbones of timm by name: four maps of strides 4, 8, 16, 32, random weights."""

from typing import Any, Final

from torch import Tensor, nn

from casvit_dense.errors import UserError

#: How the names begin.
PREFIX: Final = "timm:"
STRIDES: Final = (4, 8, 16, 32)


class TimmPeer(nn.Module):
    """A network of timm as a backbone: images ``(N, 3, H, W)`` to a tuple of four maps.

    Args:
        name: as timm has it.
        size: height and width of the images, which some networks are made for.

    Raises:
        UserError: timm does not import, has no such model, or it has other strides.
    """

    def __init__(self, name: str, size: tuple[int, int]) -> None:
        super().__init__()
        timm = check_timm(name)
        options = {"features_only": True, "pretrained": False}
        try:
            self.model = timm.create_model(name, **options, img_size=size)
        except TypeError:  # takes any size, and no such option
            self.model = timm.create_model(name, **options)
        strides = self.model.feature_info.reduction()
        if not set(STRIDES) <= set(strides):
            raise UserError(f"{PREFIX}{name} has maps of strides {strides}, not of {[*STRIDES]}")
        self.indices = [strides.index(stride) for stride in STRIDES]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The four maps."""
        maps = self.model(images)
        return tuple(maps[i] for i in self.indices)


def check_timm(name: str) -> Any:
    """The package; a `UserError` where it does not import or has no such model."""
    try:
        import timm
    except Exception as error:  # a torchvision that does not fit torch raises a RuntimeError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"timm does not import ({reason}), which {PREFIX}{name} needs") from error
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"{name.partition('_')[0]}*"))
        raise UserError(f"timm has no model {name!r}" + f"; it has {near}" * bool(near))
    return timm
