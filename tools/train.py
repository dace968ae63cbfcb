"""The same as `casvit-dense train`, for those who come from OpenMMLab."""

import sys

from casvit_dense.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
