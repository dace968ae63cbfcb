"""Learning rates of trainings whose length in steps is known only when their data are loaded."""

from typing import Any

from mmengine.optim import LinearLR, MultiStepLR
from mmengine.registry import PARAM_SCHEDULERS


def warmup_steps(limit: float, epoch_length: int, steps: int | None = None) -> int:
    """Steps of a warm-up.

    Args:
        limit: the most epochs that it may take.
        epoch_length: steps of an epoch.
        steps: what the recipe has; None: as many as the limit allows.

    Returns:
        0 where there is no room for two steps, of which the last has the full rate.
    """
    most = int(limit * epoch_length)
    found = most if steps is None else min(steps, most)
    return found if found >= 2 else 0


@PARAM_SCHEDULERS.register_module()
class WarmupLR(LinearLR):
    """A linear warm-up that ends after some steps, and in a short training earlier.

    In a config: ``dict(type='WarmupLR', start_factor=…, steps=500, end=1.2,
    convert_to_iter_based=True)``; see `warmup_steps`, whose limit is ``end``.
    """

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        end: float,
        epoch_length: int,
        steps: int | None = None,
        start_factor: float = 1 / 3,
        by_epoch: bool = True,
        **kwargs: Any,
    ) -> "WarmupLR":
        """Builds it for epochs of a length in steps."""
        last = warmup_steps(end, epoch_length, steps)
        if last == 0:
            last, start_factor = 1, 1.0
        return cls(*args, start_factor=start_factor, end=last, by_epoch=False, **kwargs)


@PARAM_SCHEDULERS.register_module()
class FractionalMultiStepLR(MultiStepLR):
    """Milestones within epochs, which mmengine's own class would step over."""

    @classmethod
    def build_iter_from_epoch(
        cls, *args: Any, milestones: list[float], epoch_length: int, **kwargs: Any
    ) -> "FractionalMultiStepLR":
        """Builds it for epochs of a length in steps."""
        kwargs.update(begin=0, end=int(kwargs["end"] * epoch_length), by_epoch=False)
        steps = [round(epoch * epoch_length) for epoch in milestones]
        return cls(*args, milestones=steps, **kwargs)
