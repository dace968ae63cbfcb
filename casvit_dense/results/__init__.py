"""Published figures to compare results with."""

from casvit_dense.results.targets import Classifier, Target, Targets, read_targets

__all__ = ["Classifier", "Target", "Targets", "read_targets"]
