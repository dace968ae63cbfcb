"""The training form: the same network and gradients with fewer activations kept for backward.

With fixed statistics, as in the published dense recipes, each BatchNorm is an affine map of
channels. Here it is folded into its convolution at every step, on the small weight tensors: no
normalised map is computed, and gradients reach the original weights through the folding.
"""

from copy import deepcopy
from typing import Any, NamedTuple, cast

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.batchnorm import _BatchNorm

from casvit_dense.casvit import AdditiveBlock, CASViT, Downsample, Stage, Stem
from casvit_dense.deploy.folding import Run, call, fold_after, fold_block, run_block

#: Attribute of a tensor that tells how to recompute it.
RECOMPUTE = "_casvit_recompute"


class Recompute(NamedTuple):
    """How to recompute a map: a cheap function of maps that are kept anyway."""

    function: Run
    inputs: tuple[Any, ...]

    def __call__(self) -> Tensor:
        return self.function(*map(unpack, self.inputs))


def run_recomputable(function: Run, *inputs: Tensor) -> Tensor:
    """Runs a function and attaches to its result how to recompute it."""
    result = function(*inputs)
    setattr(result, RECOMPUTE, Recompute(function, tuple(map(pack, inputs))))
    return result


def pack(saved: Tensor) -> Tensor | Recompute:
    """What autograd saves of a tensor: how to recompute it, if it can be."""
    return getattr(saved, RECOMPUTE, None) or saved.detach()


def unpack(packed: Tensor | Recompute) -> Tensor:
    """The tensor that autograd saved as `packed`."""
    if isinstance(packed, Recompute):
        with torch.no_grad():
            return packed()
    return packed


class FoldedBlock(AdditiveBlock):
    """A block with the tensors of `AdditiveBlock` that folds its norms at each step."""

    recompute = False

    def forward(self, x: Tensor) -> Tensor:
        if learns_statistics(self):
            return super().forward(x)
        if not self.recompute:
            return run_block(x, fold_block(self), self.drop_path, call)
        with saved_tensors_hooks(pack, unpack):
            return run_block(x, fold_block(self), self.drop_path, run_recomputable)


class FoldedDownsample(Downsample):
    """A downsampling with the tensors of `Downsample` that folds its norm at each step."""

    def forward(self, x: Tensor) -> Tensor:
        if learns_statistics(self):
            return super().forward(x)
        return fold_after(self.proj, self.norm)(x)


class FoldedStem(Stem):
    """A stem with the tensors of `Stem` that folds its norms at each step."""

    def forward(self, x: Tensor) -> Tensor:
        if learns_statistics(self):
            return super().forward(x)
        first, first_norm, _, second, second_norm, _ = self
        x = fold_after(first, first_norm)(x).relu_()
        return fold_after(second, second_norm)(x).relu_()


def learns_statistics(module: nn.Module) -> bool:
    """Whether a BatchNorm inside uses the statistics of the batch, which cannot be folded."""
    return any(isinstance(part, _BatchNorm) and part.training for part in module.modules())


@MODELS.register_module()
class FoldedCASViT(CASViT):
    """CAS-ViT that trains faster, or with less memory, while its BatchNorm statistics are fixed.

    Same tensors under the same names, same outputs (1e-5) and gradients (1e-4) as `CASViT`; inside,
    maps are channels-last. Where statistics are learned, it computes as `CASViT` does.

    Args:
        recompute: do not keep results of GELU, gates and products for the backward pass but
            recompute them there: less memory for a little time. Convolutions run once.
        **options: as of `CASViT`.

    Raises:
        ValueError: ``recompute`` together with ``with_cp``, which recomputes whole blocks.
    """

    def __init__(self, *args: Any, recompute: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        fold_in_training(self, recompute)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """As `CASViT.forward`."""
        maps = super().forward(x.contiguous(memory_format=torch.channels_last))
        # mmcv's operators, such as RoIAlign, ignore strides.
        return tuple(m.contiguous() for m in maps)


def fold_in_training(backbone: CASViT, recompute: bool) -> None:
    """Gives a backbone its training form, in place; its tensors stay the same.

    Raises:
        ValueError: ``recompute`` for a backbone with ``with_cp``.
    """
    stages = [part for part in backbone.network if isinstance(part, Stage)]
    if recompute and any(stage.with_cp for stage in stages):
        raise ValueError("recompute and with_cp exclude each other: with_cp keeps still less")
    # Only the computation changes, so changing the class of each part is enough.
    backbone.__class__ = FoldedCASViT
    for part in backbone.modules():
        part.__class__ = FOLDED_FORMS.get(type(part), type(part))
        if isinstance(part, FoldedBlock):
            part.recompute = recompute


def training_form(backbone: CASViT, save_memory: bool) -> FoldedCASViT:
    """A copy of a backbone in its training form.

    Args:
        backbone: any CAS-ViT; not changed.
        save_memory: recompute cheap results in the backward pass.
    """
    folded = deepcopy(backbone)
    fold_in_training(folded, save_memory)
    return cast(FoldedCASViT, folded)


FOLDED_FORMS: dict[type[nn.Module], type[nn.Module]] = {
    AdditiveBlock: FoldedBlock,
    Downsample: FoldedDownsample,
    Stem: FoldedStem,
}
