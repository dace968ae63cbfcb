"""Which CAS-ViT a set of tensors belongs to, read from their names and shapes."""

import re
from collections.abc import Mapping

from torch import Tensor

from casvit_dense.casvit import ARCHS, NUM_STAGES

NO_STAGES = "no CAS-ViT stages"
BLOCK_NORM = re.compile(r"backbone\.network\.(\d)\.(\d+)\.norm1\.weight")


def arch_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Depths and dims of the stages found.

    Args:
        state: tensors by name, the backbone's under ``backbone.``.

    Returns:
        ``dict(depths=..., dims=...)``, shorter than four where stages are absent.
    """
    widths: dict[int, list[int]] = {}
    for name, tensor in state.items():
        found = BLOCK_NORM.fullmatch(name)
        if found and tensor.ndim == 1:
            widths.setdefault(int(found[1]) // 2, []).append(len(tensor))
    stages = [widths[i] for i in range(NUM_STAGES) if i in widths]
    return {"depths": tuple(map(len, stages)), "dims": tuple(blocks[0] for blocks in stages)}


def describe_arch(state: Mapping[str, Tensor]) -> str:
    """``'xs'`` and so on, or the depths and dims of an unnamed variant."""
    arch = arch_of(state)
    for name, published in ARCHS.items():
        if arch == published:
            return name
    if not arch["depths"]:
        return NO_STAGES
    return "depths={}, dims={}".format(*(list(arch[key]) for key in ("depths", "dims")))
