"""Finds every fault of a data set before a training does."""
