"""Puts the safe reader behind every path by which mmengine loads a checkpoint."""

from typing import Any

from mmengine.runner import CheckpointLoader

from casvit_dense.checkpoint.reader import read_checkpoint
from casvit_dense.errors import UserError

LOCAL = ""  # mmengine's scheme of a path without one


def install_safe_loader() -> None:
    """Replaces all loaders of mmengine's ``CheckpointLoader``; may be called again.

    The runner's ``load_from`` and ``resume``, ``load_checkpoint`` and the ``Pretrained``
    initialiser then read local files with ``read_checkpoint`` and refuse every remote scheme.
    mmengine's own loader unpickles anything once the safe way has failed.
    """
    remote = [scheme for scheme in CheckpointLoader._schemes if scheme != LOCAL]
    CheckpointLoader.register_scheme(remote, load_from_remote, force=True)
    CheckpointLoader.register_scheme(LOCAL, load_from_local, force=True)


# mmengine logs a loader's name without its first ten letters, hence the names.
def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Loader of paths without a scheme."""
    return read_checkpoint(filename, map_location)


def load_from_remote(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Loader of everything else.

    Raises:
        UserError: always.
    """
    raise UserError(
        f"remote weights are not fetched: {filename}; download the file and give its path"
    )
