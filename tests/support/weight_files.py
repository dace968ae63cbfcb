"""Weight files in the published formats, filled with numbers drawn from names, for tests."""

import argparse
import json
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from casvit_dense import CASViT
from casvit_dense.casvit import resolve_arch

DATA = Path(__file__).parents[1] / "data"
TINY = {"depths": [1, 1, 2, 1], "dims": [8, 12, 16, 24]}
CLASSES = 10


def fill(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """The value of a tensor, drawn from its name; seed 0 is what the golden file has."""
    chance = np.random.default_rng(zlib.crc32(name.encode()) + seed)
    if name.endswith("num_batches_tracked"):
        return np.full(shape, seed, np.int64)
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith(".weight")):
        return chance.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) > 1:
        return (chance.normal(0, 0.7, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    return chance.normal(0, 0.1, shape).astype(np.float32)


def filled(shapes: dict[str, Sequence[int]], seed: int = 0) -> dict[str, Tensor]:
    """Tensors of the given names and shapes."""
    return OrderedDict((n, torch.from_numpy(fill(n, tuple(s), seed))) for n, s in shapes.items())


def backbone_state(arch: Any = TINY, seed: int = 0, **options: Any) -> dict[str, Tensor]:
    """Tensors of a dense backbone under the official names."""
    with torch.device("meta"):
        backbone = CASViT(arch, **options)
    return filled({name: tensor.shape for name, tensor in backbone.state_dict().items()}, seed)


def classifier_state(arch: Any = TINY, seed: int = 0) -> dict[str, Tensor]:
    """Tensors of the official classifier: no output norms, a final norm, two heads."""
    width = resolve_arch(arch)[1][-1]
    with torch.device("meta"):
        backbone = CASViT(arch, out_indices=(3,))
    shapes = {
        name.replace("norm6.", "norm."): tensor.shape
        for name, tensor in backbone.state_dict().items()
    }
    for head in ("head", "dist_head"):
        shapes |= {f"{head}.weight": (CLASSES, width), f"{head}.bias": (CLASSES,)}
    return filled(shapes, seed)


def dense_state(lateral_stages: tuple[int, ...] = (0, 1, 2, 3), seed: int = 0) -> dict[str, Tensor]:
    """Tensors of an official dense file, its neck reading some of the four stages."""
    state = {f"backbone.{name}": t for name, t in backbone_state(seed=seed).items()}
    for i, stage in enumerate(lateral_stages):
        state[f"neck.lateral_convs.{i}.conv.weight"] = torch.rand(6, TINY["dims"][stage], 1, 1)
    state["bbox_head.retina_cls.weight"] = torch.rand(9, 6, 3, 3)
    return OrderedDict(state)


def save_official_classification(
    path: Path, input_size: int = 224, **tables: dict[str, Tensor]
) -> Path:
    """As the official training script saves: `model`, perhaps `model_ema`, and its state."""
    args = argparse.Namespace(
        model="rcvit_xs", lr=6e-3, data_set="IMNET", opt_betas=None, input_size=input_size
    )
    torch.save({**tables, "optimizer": {"state": {}}, "epoch": 299, "args": args}, path)
    return path


def save_official_dense(path: Path, state: dict[str, Tensor]) -> Path:
    """As mmcv 1.x saved."""
    meta = {"mmdet_version": "2.24.0", "epoch": 12, "CLASSES": ("person", "car")}
    torch.save({"meta": meta, "state_dict": state, "optimizer": {"state": {}}}, path)
    return path


def port_names(official: list[str]) -> dict[str, str]:
    """The port's name of each official one, by analogy with the port's own list for xs."""
    listed = json.loads((DATA / "mmpretrain_names_xs.json").read_text())
    return {name: by_analogy(name, listed) for name in official}


def by_analogy(name: str, listed: dict[str, str]) -> str:
    """Looks a deeper block up as block 0 of its stage, which every variant has."""
    parts = name.split(".")
    if parts[0] != "network" or int(parts[1]) % 2:
        return listed[name]
    first = listed[".".join([*parts[:2], "0", *parts[3:]])].split(".")
    return ".".join([*first[:3], parts[2], *first[4:]])


def edited(state: dict[str, Tensor], **edits: Tensor | None) -> dict[str, Tensor]:
    """A copy with tensors replaced or, where `None`, removed; `__` stands for a dot."""
    state = dict(state)
    for key, tensor in edits.items():
        name = key.replace("__", ".")
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    return state


def assert_holds(module: nn.Module, expected: dict[str, Tensor]) -> None:
    """Names the tensors of the module that differ."""
    own = module.state_dict()
    wrong = [name for name, tensor in expected.items() if not torch.equal(own[name], tensor)]
    assert not wrong
