"""Importing it registers all that configs of classifiers name; they do so by custom_imports."""

from casvit_dense.classification import dataset, metric, model, pixels

__all__ = ["dataset", "metric", "model", "pixels"]
