"""``python -m casvit_dense`` is the ``casvit-dense`` program."""

import sys

from casvit_dense.cli import main

sys.exit(main())
