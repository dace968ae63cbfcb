"""The same as `casvit-dense convert`, for those who come from OpenMMLab."""

import sys

from casvit_dense.cli import main

sys.exit(main(["convert", *sys.argv[1:]]))
