"""The same as `casvit-dense test`, for those who come from OpenMMLab."""

import sys

from casvit_dense.cli import main

sys.exit(main(["test", *sys.argv[1:]]))
