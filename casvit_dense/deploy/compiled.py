"""How networks are compiled by torch for evaluation, in one place."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


def compiled(forward: Callable[..., Any], fused: bool, cuda_graphs: bool = False) -> Any:
    """Compiles a network, or a function, for inputs of one shape.

    Args:
        forward: a module or its ``forward``.
        fused: it is a fused form, whose weights never change again: they are frozen, that is laid
            out once, when it is compiled, as the processor's convolutions read them.
        cuda_graphs: record the kernels of a GPU and replay them.

    Returns:
        What to call in its place, without gradients.
    """
    graphs: dict[str, str | int | bool | Callable[..., Any]] = {"triton.cudagraphs": cuda_graphs}
    run = torch.compile(forward, dynamic=False, options=graphs)
    if not fused:
        return run

    @wraps(run)
    def frozen(*inputs: Any, **options: Any) -> Any:
        # Read while the network is traced, hence no option of its compilation.
        with torch._inductor.config.patch(freezing=True):
            return run(*inputs, **options)

    return frozen
