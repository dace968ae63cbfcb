"""The place of the schedulers before, which configs may import."""

from casvit_dense.training.schedulers import FractionalMultiStepLR, WarmupLR

__all__ = ["FractionalMultiStepLR", "WarmupLR"]
