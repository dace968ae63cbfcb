"""Forward and backward pass of a backbone, and what it keeps between the two."""

import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Context = Callable[[], AbstractContextManager[Any]]


class TrainingStep:
    """One forward and one backward pass, gradients of all parameters.

    Args:
        module: the backbone in the form that is measured.
        parameters: those whose gradients count, by name; they may belong to another module that
            ``module`` reads its weights from.
        images: input ``(N, 3, H, W)``.
        context: made around the forward pass, e.g. autocast.
    """

    def __init__(
        self,
        module: nn.Module,
        parameters: dict[str, nn.Parameter],
        images: Tensor,
        context: Context = nullcontext,
    ) -> None:
        self.module = module
        self.parameters = parameters
        self.images = images
        self.context = context
        # The gradients that a neck would send: one fixed random direction for every output, in
        # the layout that the output has, as autograd would deliver them.
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            outs = self.forward()
        self.gradients = [
            torch.empty_like(out).copy_(torch.randn(out.shape, generator=generator)) for out in outs
        ]

    def forward(self) -> Sequence[Tensor]:
        """The maps of the images."""
        with self.context():
            return self.module(self.images)

    def __call__(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None
        torch.autograd.backward(self.forward(), self.gradients)

    def outputs(self) -> list[Tensor]:
        """Gradients of one step, in the order of the parameters' names."""
        self()
        # A parameter may lie outside of what is trained, as a peer's frozen stem does.
        grads = {name: p.grad for name, p in self.parameters.items()}
        return [g.detach().float().cpu() for _, g in sorted(grads.items()) if g is not None]

    def saved_bytes(self) -> int:
        """Bytes that wait for the backward pass; the images and the parameters live anyway."""
        return saved_bytes(self.forward)


class _Storages(TorchDispatchMode):
    """Notes every storage that an operator makes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[StorageWeakRef, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.found.append((StorageWeakRef(storage), storage.nbytes()))
        return out


def saved_bytes(forward: Callable[[], Sequence[Tensor]]) -> int:
    """Bytes that live because of the graph of a forward pass.

    Whatever keeps them: storages that were made during ``forward`` and that are still there when
    only the graph behind its outputs is held. Each counts once; what lived before does not count.

    Args:
        forward: builds a graph.
    """
    with _Storages() as storages:
        graph = [out.grad_fn for out in forward()]  # the outputs themselves are let go
    gc.collect()
    alive = {ref.cdata: size for ref, size in storages.found if not ref.expired()}
    del graph
    return sum(alive.values())
