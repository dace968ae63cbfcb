"""Importing it registers all that configs of classifiers name; they do so by custom_imports."""

from casvit_dense.classification import augment, dataset, metric, model, pipeline, sampler

__all__ = ["augment", "dataset", "metric", "model", "pipeline", "sampler"]
