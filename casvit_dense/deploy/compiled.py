"""How networks are compiled by torch, in one place."""

from typing import Any


def compile_arguments(fused: bool, cuda_graphs: bool = False) -> dict[str, Any]:
    """What `torch.compile` gets for a network that is only evaluated.

    Args:
        fused: it is a fused form. Its weights never change again, so they may be frozen: laid out
            for the processor's convolutions once, when it is compiled.
        cuda_graphs: record the kernels of a GPU and replay them; input shapes must stay.
    """
    options = {"freezing": fused, "triton.cudagraphs": cuda_graphs}
    return {"dynamic": False, "options": options}
