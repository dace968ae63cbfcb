"""The closed list of what a weight file may hold beside tensors and plain data.

Official classification files carry an ``argparse.Namespace``; training checkpoints of mmengine
carry numpy arrays and scalars inside ``HistoryBuffer`` objects. Each is admitted in the narrowest
form that restores it.

A pickle calls what it names, with arguments of its choosing. The real ``numpy.ndarray`` makes an
array of objects from raw bytes, that is, of pointers the file chose, or a view on memory that is
freed by giving the viewed array a second state. The real ``getattr``, which history buffers ask
for, leads from any object to the interpreter. So a file reaches none of them: it gets restricted
types that hold numbers of checked type and size, and ``restored`` puts the real objects in their
place once the file is read, and refuses everything else. torch's own list is set aside: it has
tensors without numbers (on the meta device), sparse, quantised and nested ones, and codecs by name.
"""

import argparse
import math
import pickle
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, _utils, _weights_only_unpickler
from torch.serialization import StorageType

_lock = threading.Lock()

#: What a file may nest, and hold: a list that is named twice counts twice.
MAX_DEPTH, MAX_VALUES = 64, 1_000_000
#: Tensors may share bytes, as tied weights do, but not all of them the same few.
MAX_SHARED = 16
#: Bytes of all tensors that repeat theirs, as those of `Tensor.expand` do.
MAX_REPEATED = 2**28

#: Types of tensors, with the storage that old files name in their place.
DTYPES = {
    torch.float32: "FloatStorage",
    torch.float64: "DoubleStorage",
    torch.float16: "HalfStorage",
    torch.bfloat16: "BFloat16Storage",
    torch.int64: "LongStorage",
    torch.int32: "IntStorage",
    torch.int16: "ShortStorage",
    torch.int8: "CharStorage",
    torch.uint8: "ByteStorage",
    torch.bool: "BoolStorage",
}
PLAIN = (type(None), bool, float, bytes, np.generic, np.ndarray, HistoryBuffer)
PLAIN_TORCH = (torch.dtype, torch.device, torch.Size)

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


def latin1(text: Any, codec: Any) -> bytes:
    """Stands in for ``_codecs.encode``, by which protocol 2 writes bytes."""
    if type(text) is not str or codec != "latin1":
        raise pickle.UnpicklingError("GLOBAL _codecs.encode was used for no bytes")
    return text.encode("latin1")


class Refused(Exception):
    """The file holds something that no weight file needs; the message says what."""


class Restorer:
    """Puts real arrays and buffers in place of the restricted types, and looks at everything.

    Dicts and lists are changed in place; an object that the file names twice stays one object.
    Tensors lose gradients and attributes.

    Args:
        file_size: in bytes; tensors cannot hold more.
    """

    def __init__(self, file_size: int) -> None:
        self.file_size = file_size
        self.done: dict[int, tuple[Any, int]] = {}  # by id: the object and its number of values
        self.open: set[int] = set()
        self.storages: dict[int, int] = {}  # by address: bytes
        self.tensor_bytes = self.repeated_bytes = 0

    def __call__(self, content: Any) -> Any:
        """The content of a file.

        Raises:
            Refused: it holds something else than tensors and plain data, nests too deeply or in
                itself, or claims more bytes than the file has.
        """
        found = self.visit(content)[0]
        if (
            sum(self.storages.values()) > self.file_size
            or self.tensor_bytes - self.repeated_bytes > MAX_SHARED * self.file_size
        ):
            raise Refused("its tensors claim more bytes than it has")
        return found

    def visit(self, value: Any) -> tuple[Any, int]:
        """The real object and the number of values in it."""
        if type(value) is int:
            if value.bit_length() > 64:
                raise Refused("it holds a whole number of more than 64 bits")
            return value, 1
        if type(value) is str:
            return checked_text(value), 1
        if isinstance(value, Tensor):
            self.tensor_bytes += value.numel() * value.itemsize  # each time it is named
        if id(value) not in self.done:
            if id(value) in self.open or len(self.open) > MAX_DEPTH:
                raise Refused(f"it holds itself, or more than {MAX_DEPTH} levels")
            self.open.add(id(value))
            self.done[id(value)] = self.real(value)
            self.open.remove(id(value))
        return self.done[id(value)]

    def real(self, value: Any) -> tuple[Any, int]:
        if type(value) in (StoredArray, StoredHistory):
            return value.restored(), 1
        if isinstance(value, Tensor):
            return self.tensor(value), 1
        if isinstance(value, (*PLAIN, *PLAIN_TORCH)):
            return value, 1
        if type(value) is argparse.Namespace:
            return value, self.visit(vars(value))[1]
        if type(value) in (list, tuple, set):
            items, count = self.all(value)
            if type(value) is list:
                value[:] = items
                return value, count
            return type(value)(items), count
        if type(value) in (dict, OrderedDict, Counter):
            attributes = getattr(value, "__dict__", {})
            if attributes.keys() - {"_metadata"} or not is_metadata(attributes.get("_metadata")):
                raise Refused("it holds a table with attributes")
            if not all(is_key(key) for key in value):
                raise Refused("it holds a table with keys that are no names or numbers")
            items, count = self.all(value.values())
            for key, item in zip(value, items, strict=True):
                value[key] = item
            return value, count
        raise Refused(f"it holds a {getattr(value, '__name__', type(value).__name__)}")

    def all(self, values: Any) -> tuple[list[Any], int]:
        """Real objects of several values, and how many they are with what is in them."""
        pairs = [self.visit(value) for value in values]
        count = 1 + sum(number for _, number in pairs)
        if count > MAX_VALUES:
            raise Refused(f"it holds more than {MAX_VALUES} values")
        return [item for item, _ in pairs], count

    def tensor(self, value: Tensor) -> Tensor:
        """A tensor with numbers of its own, and nothing else."""
        value = Tensor.detach(value)
        if type(value) is not Tensor or value.layout != torch.strided or value.is_meta:
            raise Refused("it holds a tensor without numbers in order: sparse, nested or meta")
        if value.dtype not in DTYPES:
            raise Refused(f"it holds a tensor of {value.dtype}")
        storage = value.untyped_storage()
        size = value.numel() * value.itemsize
        if size > storage.nbytes():
            self.repeated_bytes += size
            if self.repeated_bytes > MAX_REPEATED:
                raise Refused(f"it holds a tensor of {size} bytes made of {storage.nbytes()}")
        self.storages[storage.data_ptr()] = storage.nbytes()
        return value


def checked_text(text: str) -> str:
    """A text that can be written out again."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused("it holds a text that is no Unicode") from None
    return text


def is_key(key: Any) -> bool:
    """Whether it is a name that can be shown, or a number."""
    if type(key) is str:
        return key.isprintable()
    return key is None or type(key) in (bool, float) or (type(key) is int and abs(key) < 2**64)


def is_metadata(value: Any) -> bool:
    """Whether torch's modules may read it as the versions that a state dict keeps of them."""
    return value is None or (
        isinstance(value, dict)
        and all(type(key) is str and type(item) is dict for key, item in value.items())
        and all(type(v) in (int, str, bool) for item in value.values() for v in item.values())
    )


def allowed_globals() -> dict[str, Any]:
    """What torch's restricted unpickler may look up, by name."""
    functions = (
        _utils._rebuild_tensor,
        _utils._rebuild_tensor_v2,
        _utils._rebuild_parameter,
        _utils._rebuild_parameter_with_state,
    )
    # numpy 2 renamed the module; files of either version are read by either version.
    numpy_functions = {
        f"{module}.{name}": function
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for function, name in ((reconstruct, "_reconstruct"), (scalar, "scalar"))
    }
    return {
        "collections.OrderedDict": OrderedDict,
        "collections.Counter": Counter,
        "builtins.set": set,
        "argparse.Namespace": argparse.Namespace,
        "torch.Size": torch.Size,
        "torch.device": torch.device,
        "torch.nn.parameter.Parameter": torch.nn.Parameter,
        **{f"torch._utils.{function.__name__}": function for function in functions},
        **{str(dtype): dtype for dtype in DTYPES},
        **{f"torch.{name}": StorageType(name) for name in DTYPES.values()},
        "torch.storage.UntypedStorage": torch.UntypedStorage,
        f"{HistoryBuffer.__module__}.{HistoryBuffer.__qualname__}": StoredHistory,
        "builtins.getattr": history_method,
        "builtins.bytes": empty_bytes,
        "_codecs.encode": latin1,
        "numpy.ndarray": StoredArray,
        "numpy.dtype": StoredDtype,
        **numpy_functions,
    }


ALLOWED = allowed_globals()


@contextmanager
def closed_allowlist() -> Iterator[None]:
    """Makes the list of torch's unpickler exactly ours for the duration."""
    with (
        _lock,
        patch.object(_weights_only_unpickler, "_get_allowed_globals", lambda: ALLOWED),
        patch.object(_weights_only_unpickler, "_get_user_allowed_globals", dict),
    ):
        yield
