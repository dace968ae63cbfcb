"""Checkpoints whose pickle holds instructions no honest object would give, for tests."""

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch


class Reduced:
    """Is pickled as a call (REDUCE)."""

    def __init__(self, function: Callable, *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable, tuple[object, ...]]:
        return self.call


class New:
    """Is pickled as an object made without its initialiser (NEWOBJ)."""

    def __init__(self, kind: type, *args: object) -> None:
        self.kind, self.args = kind, args


class Built:
    """Is pickled as an object that is then given a state (BUILD)."""

    def __init__(self, target: object, state: object) -> None:
        self.target, self.state = target, state


class OpcodePickler(pickle._Pickler):
    """Knows ``New`` and ``Built``; an object that is built twice is made once."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, New):
            super().save(obj.kind)
            super().save(obj.args)
            self.write(pickle.NEWOBJ)
        elif isinstance(obj, Built):
            self.save(obj.target)
            self.save(obj.state)
            self.write(pickle.BUILD)
        else:
            super().save(obj, save_persistent_id)


def save_opcodes(content: object, path: Path) -> None:
    """As ``torch.save``, with the three classes above written as instructions."""
    torch.save(
        content, path, pickle_module=SimpleNamespace(Pickler=OpcodePickler, __name__="pickle")
    )
