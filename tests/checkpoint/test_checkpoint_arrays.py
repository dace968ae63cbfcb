"""Arrays and histories in checkpoints: what training writes comes back, crafted ones do not."""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from opcodes import Built, New, Reduced, save_opcodes
from processes import ended, forked, wait_for
from torch._tensor import _rebuild_from_type_v2

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.errors import UserError

RECONSTRUCT, _, (_, SMALL, F8, _, EIGHT_BYTES) = np.ones(1).__reduce__()
SCALAR = np.float64(0).__reduce__()[0]
POINTER = b"AAAAAAAA"


def blank(kind: type = np.ndarray, shape: tuple = (0,), code: bytes = b"b") -> Reduced:
    return Reduced(RECONSTRUCT, kind, shape, code)


def array(*state: object) -> Built:
    """An array as numpy pickles it, with the given state."""
    return Built(blank(), state)


def history(log: object, count: object, length: object = 5) -> Built:
    state = {"max_length": length, "_log_history": log, "_count_history": count}
    return Built(New(HistoryBuffer), state)


def rebuilt(data: object, state: tuple) -> Reduced:
    """torch's own way round the BUILD instruction."""
    return Reduced(_rebuild_from_type_v2, RECONSTRUCT, np.ndarray, data, state)


def view_on_freed_memory() -> list:
    base = blank()
    return [
        Built(base, (1, (1000,), F8, False, bytes(8000))),
        Reduced(np.ndarray, (1000,), "f8", base),
        Built(base, (1, SMALL, F8, False, EIGHT_BYTES)),
    ]


def built_twice() -> list:
    base = blank()
    return [Built(base, (1, SMALL, F8, False, EIGHT_BYTES)) for _ in range(2)]


OBJECTS = Reduced(np.ndarray, (1,), "O", POINTER)
HOSTILE: dict[str, object] = {
    "array of pointers": OBJECTS,
    "array of pointers in a history": history(OBJECTS, np.ones(1)),
    "array of pointers as NEWOBJ": New(np.ndarray, (1,), "O", POINTER),
    "array of pointers in an error message": Reduced(getattr, OBJECTS, "x"),
    "array of pointers as a dtype": Reduced(np.dtype, OBJECTS),
    "plain array called": Reduced(np.ndarray, (1,), "f8"),
    "view on freed memory": view_on_freed_memory(),
    "built twice": built_twice(),
    "blank of another shape": blank(shape=(9,)),
    "blank of pointers": blank(code=b"O"),
    "blank of another class": blank(kind=HistoryBuffer),
    "never built": blank(),
    "unknown version": array(2, SMALL, F8, False, EIGHT_BYTES),
    "no tuple as shape": array(1, 1, F8, False, EIGHT_BYTES),
    "negative shape": array(1, (-1, -1), F8, False, EIGHT_BYTES),
    "shape of floats": array(1, (1.0,), F8, False, EIGHT_BYTES),
    "shape that wraps around": array(1, (2**61 + 1,), F8, False, EIGHT_BYTES),
    "too few bytes": array(1, (2,), F8, False, EIGHT_BYTES),
    "too many bytes": array(1, (1,), F8, False, bytes(16)),
    "list instead of bytes": array(1, (1,), F8, False, [1.0]),
    "bytes that may change": array(1, (1,), F8, False, bytearray(8)),
    "a code instead of a dtype": array(1, (1,), "f8", False, EIGHT_BYTES),
    "objects": array(1, (1,), np.dtype("O"), False, POINTER),
    "text": np.array(["text"]),
    "fields": np.zeros(1, [("a", "f8")]),
    "other byte order": np.ones(1, ">f8"),
    "state that is no tuple": Built(blank(), "state"),
    "dtype in an unknown state": array(
        1, SMALL, Built(Reduced(np.dtype, "f8"), "state"), False, EIGHT_BYTES
    ),
    "set by torch": rebuilt((np.ndarray, (0,), b"b"), (1, (9,), F8, False, EIGHT_BYTES)),
    "scalar of pointers": Reduced(SCALAR, np.dtype("O"), POINTER),
    "scalar without a dtype": Reduced(SCALAR, "f8", EIGHT_BYTES),
    "scalar of too few bytes": Reduced(SCALAR, F8, b"1234"),
    "scalar of too many bytes": Reduced(SCALAR, F8, bytes(16)),
    "history without an array": history([1.0], np.ones(1)),
    "history of tensors": history(torch.ones(1), torch.ones(1)),
    "history never built": New(HistoryBuffer),
    "history of an array never built": history(blank(), np.ones(1)),
    "history of two dimensions": history(np.ones((2, 2)), np.ones((2, 2))),
    "history of two lengths": history(np.ones(2), np.ones(3)),
    "history without length": history(np.ones(1), np.ones(1), None),
    "history of a fresh one": Built(Reduced(HistoryBuffer, [1.0], [1.0]), {}),
    "history without state": Built(New(HistoryBuffer), {}),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, str]:
    """What became of each hostile file, read in a process that may crash."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = {name: str(folder / f"{i}.pth") for i, name in enumerate(HOSTILE)}
    for name, content in HOSTILE.items():
        save_opcodes({"state_dict": {"a": torch.ones(1)}, "x": content}, Path(paths[name]))

    def read_each() -> int:
        for path in paths.values():
            print(path, end="=", flush=True)
            try:
                print("accepted", type(read_checkpoint(path)["x"]))
            except UserError:
                print("refused")
        return 0

    with forked(read_each, folder / "printed") as pid:
        wait_for(lambda: ended(pid))
    lines = (folder / "printed").read_text().splitlines()
    by_path = dict(line.partition("=")[::2] for line in lines)
    return {name: by_path.get(path, "not reached") for name, path in paths.items()}


@pytest.mark.parametrize("name", HOSTILE)
def test_crafted_arrays_are_refused(name, outcomes):
    print(outcomes[name])
    assert outcomes[name].startswith("refused")


def test_an_array_called_is_named(tmp_path):
    save_opcodes({"x": OBJECTS}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"it needs the type numpy\.ndarray,"):
        read_checkpoint(tmp_path / "x.pth")


def read_back(content: object, path: Path) -> object:
    torch.save({"x": content}, path)
    return read_checkpoint(path)["x"]


ARRAYS: dict[str, np.ndarray] = {
    **{code: np.array([[0, 1, 3]]).astype(code) for code in ("b1", "i1", "i2", "i4", "i8")},
    **{code: np.array([[0, 1, 3]]).astype(code) for code in ("u1", "u2", "u4", "u8")},
    **{code: np.array([[0.0, 1.5, np.nan]]).astype(code) for code in ("f2", "f4", "f8")},
    "Fortran": np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
    "empty": np.zeros((0, 3)),
    "no dimension": np.array(2.5),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back(name, tmp_path):
    read = read_back(ARRAYS[name], tmp_path / "x.pth")
    assert type(read) is np.ndarray
    assert read.dtype == ARRAYS[name].dtype
    np.testing.assert_array_equal(read, ARRAYS[name])
    assert read.flags.writeable
    assert read.flags.owndata or read.base.flags.owndata


@pytest.mark.parametrize("scalar", [np.float64(0.1), np.float32(0.5), np.int64(-3), np.bool_(True)])
def test_scalars_come_back(scalar, tmp_path):
    read = read_back(scalar, tmp_path / "x.pth")
    assert type(read) is type(scalar)
    assert read == scalar


def test_arrays_come_back_from_any_place_in_a_file(tmp_path):
    shared, log = np.arange(3), HistoryBuffer([1.0, 2.0], [1, 1])
    content = {
        "table": {"a": shared},
        "list": [shared, log],
        "tuple": (shared, (log, 1)),
        "args": argparse.Namespace(a=shared),
        "counts": Counter({"a": 2}),
    }
    read = read_back(content, tmp_path / "x.pth")
    found = read["table"]["a"]
    np.testing.assert_array_equal(found, shared)
    assert read["list"][0] is found
    assert read["tuple"][0] is found
    assert read["args"].a is found
    assert type(read["list"][1]) is HistoryBuffer
    assert read["tuple"][1][0] is read["list"][1]
    assert read["counts"] == {"a": 2}


def test_histories_go_on(tmp_path):
    read = read_back(HistoryBuffer([1.0, 2.0], [1, 1], max_length=2), tmp_path / "x.pth")
    read.update(6.0)
    np.testing.assert_array_equal(read.data, [[2.0, 6.0], [1, 1]])
    assert read.statistics("mean") == 4.0


def test_truth_values_are_zero_or_one(tmp_path):
    """numpy counts on it when it sizes what a mask selects."""
    crafted = array(1, (2,), np.dtype("?"), False, b"\x07\x00")
    save_opcodes({"x": crafted}, tmp_path / "x.pth")
    assert read_checkpoint(tmp_path / "x.pth")["x"].view(np.uint8).tolist() == [1, 0]
