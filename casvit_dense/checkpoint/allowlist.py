"""The closed list of what a weight file may hold beside tensors and plain data.

Official classification files carry an ``argparse.Namespace``; training checkpoints of mmengine
carry numpy arrays and scalars inside ``HistoryBuffer`` objects. Each is admitted in the narrowest
form that restores it. In particular the real ``getattr``, which those buffers ask for and which
leads from any object to the interpreter, is never admitted.
"""

import argparse
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer
from torch import serialization

PLAIN_DTYPES = {
    code: np.dtype(code)
    for code in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}

_lock = threading.Lock()


class RestoredHistory(HistoryBuffer):
    """Stands in for ``HistoryBuffer`` while a file is read.

    The original merges a table of functions from the file into one that all buffers share; this
    one takes the two arrays and their limit, then becomes an ordinary buffer.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(max_length=int(state["max_length"]))  # type: ignore[misc]
        self._log_history = np.asarray(state["_log_history"], np.float64)
        self._count_history = np.asarray(state["_count_history"], np.float64)
        self.__class__ = HistoryBuffer


def history_method(owner: Any, name: str) -> str:
    """Stands in for ``getattr``, by which a buffer's pickle names its statistics methods."""
    if owner is not RestoredHistory:
        raise pickle.UnpicklingError(f"GLOBAL builtins.getattr was used on {owner!r}")
    return name


def plain_dtype(code: str, align: bool = False, copy: bool = True) -> np.dtype:
    """Stands in for ``numpy.dtype``: numbers only, and numpy's own immutable instances.

    A fresh copy would take byte order and memory flags from the file.
    """
    if code not in PLAIN_DTYPES:
        raise pickle.UnpicklingError(f"GLOBAL numpy.dtype was used for {code!r}")
    return PLAIN_DTYPES[code]


def allowed_globals() -> list[Any]:
    """What torch's restricted unpickler may look up, as its ``safe_globals`` wants it."""
    rebuild_array = np.empty(0).__reduce__()[0]
    rebuild_scalar = np.float64(0).__reduce__()[0]
    # numpy 2 renamed the module; files of either version are read by either version.
    numpy_functions = [
        (function, f"{module}.{name}")
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for function, name in ((rebuild_array, "_reconstruct"), (rebuild_scalar, "scalar"))
    ]
    return [
        argparse.Namespace,
        (RestoredHistory, f"{HistoryBuffer.__module__}.{HistoryBuffer.__qualname__}"),
        (history_method, "builtins.getattr"),
        np.ndarray,
        (plain_dtype, "numpy.dtype"),
        *(type(dtype) for dtype in PLAIN_DTYPES.values()),
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
