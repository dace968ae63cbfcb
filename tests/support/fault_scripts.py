"""What the scripts of ``tests/faults`` share: flags, and generated data in a temporary folder."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from casvit_dense.data.shapes import ShapesSpec, generate_shapes


def flags(about: str | None, quick: str, only: str = "", **numbers: int) -> argparse.Namespace:
    """The flags of the command line.

    Args:
        about: what the script does.
        quick: what of it ``--quick`` does.
        only: what ``--only TEXT`` chooses, where there is one.
        **numbers: more flags, with their defaults.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help=quick)
    if only:
        parser.add_argument("--only", default="", help=only)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help="default %(default)s")
    return parser.parse_args()


@contextmanager
def folder_with_shapes(train: int = 10, val: int = 5, size: int = 64) -> Iterator[Path]:
    """A temporary folder with small generated images in ``shapes``."""
    with tempfile.TemporaryDirectory() as name:
        generate_shapes(Path(name, "shapes"), ShapesSpec(train=train, val=val, size=size))
        yield Path(name)
