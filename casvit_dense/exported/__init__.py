"""Exported files as they are found: their description, what runs them, and a model around both.

Low enough for evaluation and prediction to use; `casvit_dense.export` writes the files.
"""
