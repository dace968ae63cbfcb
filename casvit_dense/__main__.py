"""``python -m casvit_dense`` is the ``casvit-dense`` program."""

from casvit_dense.cli import program

program()
