"""Any of timm's networks that has maps of strides 4, 8, 16 and 32."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, NamedTuple

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from casvit_dense.errors import UserError
from casvit_dense.extras import require

#: Strides of the maps that necks read.
STRIDES: Final = (4, 8, 16, 32)

#: Height and width that a network is tried on: neither square nor a usual size.
TRIED: Final = (64, 96)


class Maps(NamedTuple):
    """The maps of `STRIDES`: their places among all that a network gives, and their channels."""

    indices: tuple[int, ...]
    channels: tuple[int, ...]


class SizeError(UserError):
    """A network takes images of one size alone."""


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A network of timm as the backbone of a dense model, with random weights.

    Input ``(N, 3, H, W)``; output four maps ``(N, C, H/s, W/s)`` of the strides s in `STRIDES`,
    channels by `timm_maps`. Parameters are those of timm's ``features_only`` model. A file with
    timm's own names, as its safetensors have them, loads by ``init_cfg`` of type ``Pretrained``.

    Args:
        name: of the architecture, as in ``timm.list_models()``.
        norm_eval: BatchNorm keeps its statistics in training, as in CAS-ViT's recipes.
        drop_path_rate: of stochastic depth; None: timm's default, which is none.
        img_size: height and width of all images, for networks that are built for one size.
        init_cfg: mmengine's; where weights come from.

    Raises:
        UserError: timm does not import, has no such network, or it lacks maps of these strides.
    """

    def __init__(
        self,
        name: str,
        norm_eval: bool = True,
        drop_path_rate: float | None = None,
        img_size: Sequence[int] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.norm_eval = norm_eval
        size = None if img_size is None else (img_size[0], img_size[1])
        maps = timm_maps(name, size)
        self.channels = maps.channels
        options = dict(img_size=size, drop_path_rate=drop_path_rate)
        self.model = create(name, out_indices=maps.indices, **options)
        self.register_load_state_dict_pre_hook(_rename_timm_file)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The four maps, the finest first."""
        maps: Sequence[Tensor] = self.model(x)
        # Some networks compute with channels last and return them so.
        return tuple(
            m if m.shape[1] == channels else m.permute(0, 3, 1, 2)
            for m, channels in zip(maps, self.channels, strict=True)
        )

    def train(self, mode: bool = True) -> "TimmBackbone":
        """Sets the mode; BatchNorm stays in evaluation with ``norm_eval``."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def create(name: str, **options: Any) -> Any:
    """timm's ``features_only`` network with random weights; nothing is fetched.

    Args:
        name: of the architecture.
        **options: of timm's; None: timm's default, which some networks do not let one give.
    """
    timm = require("timm", "timm")
    if name not in (names := timm.list_models()):
        near = get_close_matches(name.partition(".")[0], names, 3, 0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() has all"
        raise UserError(f"timm {timm.__version__} has no network {name!r}; {hint}")
    try:
        given = {key: value for key, value in options.items() if value is not None}
        return timm.create_model(name, pretrained=False, features_only=True, **given)
    except Exception as error:  # what a network raises that cannot do it is its own affair
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"timm:{name} gives no feature maps ({reason})") from error


@cache
def timm_maps(name: str, size: tuple[int, int] | None = None) -> Maps:
    """Where a network has its maps of `STRIDES`, found without making its weights.

    Args:
        name: of the architecture.
        size: as ``img_size`` of `TimmBackbone`.

    Raises:
        UserError: as `TimmBackbone`.
    """
    with torch.device("meta"):
        network = create(name, img_size=size)
    info = network.feature_info
    strides, channels = info.reduction(), info.channels()
    if lacking := [stride for stride in STRIDES if stride not in strides]:
        columnar = " (columnar: all of its maps have one size)" * (len(set(strides)) == 1)
        raise UserError(
            f"timm:{name} has maps of strides {_listed(strides)}{columnar}; a neck reads "
            f"{_listed(STRIDES)}, and there is no {_listed(lacking)}"
        )
    try:
        network.eval()(torch.empty(1, 3, *(size or TRIED), device="meta"))
    except Exception as error:  # of any kind, by the operation that fails first
        raise SizeError(
            f"timm:{name} is built for images of one size, and dense models have any: {error}"
        ) from error
    places = {stride: place for place, stride in enumerate(strides)}  # the last of each
    found = [places[stride] for stride in STRIDES]
    return Maps(tuple(info.out_indices[i] for i in found), tuple(channels[i] for i in found))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _rename_timm_file(module: TimmBackbone, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Brings the names of timm's classifier to those of its ``features_only`` form, in place."""
    if not prefix:  # else a whole model's file, which has our names
        renamed = dict(_renamed(module.model, state))
        state.clear()
        state.update(renamed)


def _renamed(model: nn.Module, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Tensors by our names; those that the backbone has no part for keep theirs.

    timm takes the parts of a ``Sequential`` at the top out of it: ``stages.0`` is ``stages_0``.
    """
    inner = getattr(model, "model", model)  # some forms keep the whole network inside
    prefix = "model." if inner is model else "model.model."
    parts = {part for part, _ in inner.named_children()} | {
        part for part, _ in inner.named_parameters(recurse=False)
    }
    for name, tensor in state.items():
        first, _, rest = name.partition(".")
        second, _, end = rest.partition(".")
        if first in parts:
            yield f"{prefix}{name}", tensor
        elif f"{first}_{second}" in parts:
            yield f"{prefix}{first}_{second}.{end}", tensor
        else:
            yield name, tensor
