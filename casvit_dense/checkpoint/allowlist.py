"""The closed list of what a weight file may hold beside tensors and plain data.

Official classification files carry an ``argparse.Namespace``; training checkpoints of mmengine
carry numpy arrays and scalars inside ``HistoryBuffer`` objects. Each is admitted in the narrowest
form that restores it. In particular the real ``getattr``, which those buffers ask for and which
leads from any object to the interpreter, is never admitted, nor is anything of numpy.
"""

import argparse
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.logging import HistoryBuffer
from torch import serialization

from casvit_dense.checkpoint.stand_ins import (
    StoredArray,
    StoredDtype,
    StoredHistory,
    empty_bytes,
    history_method,
    reconstruct,
    scalar,
)

_lock = threading.Lock()


def allowed_globals() -> list[Any]:
    """What torch's restricted unpickler may look up, as its ``safe_globals`` wants it."""
    # numpy 2 renamed the module; files of either version are read by either version.
    numpy_functions = [
        (function, f"{module}.{name}")
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for function, name in ((reconstruct, "_reconstruct"), (scalar, "scalar"))
    ]
    return [
        argparse.Namespace,
        (StoredHistory, f"{HistoryBuffer.__module__}.{HistoryBuffer.__qualname__}"),
        (history_method, "builtins.getattr"),
        (empty_bytes, "builtins.bytes"),
        (StoredArray, "numpy.ndarray"),
        (StoredDtype, "numpy.dtype"),
        *numpy_functions,
    ]


@contextmanager
def closed_allowlist() -> Iterator[None]:
    """Makes torch's list exactly ours, whatever others added to it, and restores theirs after."""
    with _lock:
        before = serialization.get_safe_globals()
        serialization.clear_safe_globals()
        serialization.add_safe_globals(allowed_globals())
        try:
            yield
        finally:
            serialization.clear_safe_globals()
            serialization.add_safe_globals(before)
