"""The closed list of what a weight file may hold beside tensors and plain data.

Official classification files carry an ``argparse.Namespace``; training checkpoints of mmengine
carry numpy arrays and scalars inside ``HistoryBuffer`` objects. Each is admitted in the narrowest
form that restores it.

A pickle calls what it names, with arguments of its choosing. The real ``numpy.ndarray`` makes an
array of objects from raw bytes, that is, of pointers the file chose, or a view on memory that is
freed by giving the viewed array a second state. The real ``getattr``, which history buffers ask
for, leads from any object to the interpreter. So a file reaches none of them: it gets restricted
types that hold numbers of checked type and size, and ``restored`` puts the real objects in their
place once the file is read.
"""

import argparse
import math
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer
from torch import serialization

_lock = threading.Lock()

PLAIN_DTYPES = {
    code: np.dtype(code)
    for code in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}


class StoredDtype:
    """Stands in for ``numpy.dtype``: numbers only, little-endian."""

    __slots__ = ("code",)

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        if type(code) is not str or code not in PLAIN_DTYPES:
            shown = code if type(code) is str else "no name of numbers"
            raise pickle.UnpicklingError(f"GLOBAL numpy.dtype was used for {shown!r}")
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", "|"):
            raise pickle.UnpicklingError("a dtype of another byte order")


class StoredArray:
    """Stands in for ``numpy.ndarray``, which regular files only pass to ``_reconstruct``."""

    __slots__ = ("array",)
    array: np.ndarray

    def __new__(cls, *args: Any) -> "StoredArray":
        raise pickle.UnpicklingError("GLOBAL numpy.ndarray was called")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        version, shape, dtype, fortran, data = state
        if hasattr(self, "array") or version != 1:
            raise pickle.UnpicklingError("an array is built twice, or in an unknown way")
        if type(shape) is not tuple or any(type(n) is not int or n < 0 for n in shape):
            raise pickle.UnpicklingError("an array without a shape")
        flat = numbers(dtype, data, math.prod(shape))
        self.array = flat.reshape(shape, order="F" if fortran is True else "C")

    def restored(self) -> np.ndarray:
        """The array; AttributeError if the file set none."""
        return self.array


class StoredHistory:
    """Stands in for ``HistoryBuffer``.

    The original merges a table of functions from the file into one that all buffers share; this
    one takes the two arrays and their limit.
    """

    __slots__ = ("state",)
    state: dict[str, Any]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def restored(self) -> HistoryBuffer:
        """An ordinary buffer."""
        length = self.state["max_length"]
        log, count = self.state["_log_history"], self.state["_count_history"]
        if type(length) is not int or not type(log) is type(count) is StoredArray:
            raise pickle.UnpicklingError("a history without two arrays and a limit")
        if log.array.ndim != 1 or log.array.shape != count.array.shape:
            raise pickle.UnpicklingError("a history of unequal lengths")
        buffer = HistoryBuffer(max_length=length)
        buffer._log_history = log.array.astype(np.float64)
        buffer._count_history = count.array.astype(np.float64)
        return buffer


def numbers(dtype: Any, data: Any, count: int) -> np.ndarray:
    """A copy of ``count`` numbers from exactly as many bytes as they need."""
    if type(dtype) is not StoredDtype or type(data) is not bytes:
        raise pickle.UnpicklingError("numbers without a dtype or bytes")
    real = PLAIN_DTYPES[dtype.code]
    if len(data) != count * real.itemsize:
        raise pickle.UnpicklingError(f"{len(data)} bytes for {count} numbers of type {real}")
    # numpy relies on truth values being 0 or 1 when it counts them, so they are made so.
    return np.frombuffer(data, "u1" if dtype.code == "b1" else real).astype(real)


def reconstruct(kind: Any, shape: Any, code: Any) -> StoredArray:
    """Stands in for numpy's ``_reconstruct``: the blank array that every pickled one starts as."""
    if kind is not StoredArray or shape != (0,) or code != b"b":
        raise pickle.UnpicklingError("GLOBAL numpy._reconstruct was used for no plain array")
    return object.__new__(StoredArray)


def scalar(dtype: Any, data: Any) -> np.generic:
    """Stands in for numpy's ``scalar``."""
    value: np.generic = numbers(dtype, data, 1)[0]
    return value


def history_method(owner: Any, name: str) -> str:
    """Stands in for ``getattr``, by which a buffer's pickle names its statistics methods."""
    if owner is not StoredHistory:
        raise pickle.UnpicklingError("GLOBAL builtins.getattr was used on no HistoryBuffer")
    return name


def empty_bytes() -> bytes:
    """Stands in for ``bytes``, which pickle calls for the data of an empty array."""
    return b""


def restored(value: Any, done: dict[int, Any] | None = None) -> Any:
    """The content of a file with real arrays and buffers in place of the restricted types.

    Dicts and lists are changed in place; an object that the file names twice stays one object.
    """
    done = {} if done is None else done
    if id(value) in done:
        return done[id(value)]
    done[id(value)] = value
    if type(value) in (StoredArray, StoredHistory):
        done[id(value)] = value.restored()
    elif type(value) is tuple:
        done[id(value)] = tuple(restored(item, done) for item in value)
    elif type(value) is list:
        value[:] = [restored(item, done) for item in value]
    elif isinstance(value, dict):
        for key, item in value.items():
            value[key] = restored(item, done)
    elif type(value) is argparse.Namespace:
        restored(vars(value), done)
    return done[id(value)]


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
    """Makes torch's list exactly ours for the duration, and restores what others added."""
    with _lock:
        before = serialization.get_safe_globals()
        serialization.clear_safe_globals()
        serialization.add_safe_globals(allowed_globals())
        try:
            yield
        finally:
            serialization.clear_safe_globals()
            serialization.add_safe_globals(before)
