"""Weight files of the peers as published: names and shapes by hand, one value for each tensor.

Sources: the authors' models (torchvision's resnet.py; whai362/PVT; NVlabs/SegFormer;
microsoft/Swin-Transformer) and, where OpenMMLab publishes the file, its own names.
"""

import runpy
from itertools import pairwise
from pathlib import Path

import mmseg
import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

CLASSES = 1000
PVT_DIMS = (64, 128, 320, 512)
SMALL_DIMS = (32, 64, 160, 256)


def affine(name: str, *shape: int) -> Shapes:
    """A layer with weight and bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def batch_norm(name: str, width: int) -> Shapes:
    """BatchNorm as files from before torch 0.4.1 have it, without its counter."""
    statistics = {f"{name}.{part}": (width,) for part in ("running_mean", "running_var")}
    return affine(name, width) | statistics


def resnet(depths: tuple[int, ...], bottleneck: bool) -> Shapes:
    found = {"conv1.weight": (64, 3, 7, 7)} | batch_norm("bn1", 64)
    width_in = 64
    for i, depth in enumerate(depths):
        width, width_out = 64 * 2**i, 64 * 2**i * (4 if bottleneck else 1)
        for j in range(depth):
            block, widths = f"layer{i + 1}.{j}", [width_in, width, width]
            sides = [1, 3, 1] if bottleneck else [3, 3]
            if bottleneck:
                widths.append(width_out)
            for k, ((a, b), side) in enumerate(zip(pairwise(widths), sides, strict=True), 1):
                found[f"{block}.conv{k}.weight"] = (b, a, side, side)
                found |= batch_norm(f"{block}.bn{k}", b)
            if j == 0 and width_in != width_out:
                found[f"{block}.downsample.0.weight"] = (width_out, width_in, 1, 1)
                found |= batch_norm(f"{block}.downsample.1", width_out)
            width_in = width_out
    return found | affine("fc", CLASSES, width_in)


def mobilenetv2() -> Shapes:
    """OpenMMLab's classifier."""

    def unit(name: str, *shape: int) -> Shapes:
        counter = {f"{name}.bn.num_batches_tracked": ()}
        return {f"{name}.conv.weight": shape} | batch_norm(f"{name}.bn", shape[0]) | counter

    found = unit("conv1", 32, 3, 3, 3)
    width_in = 32
    settings = [
        (1, 16, 1),
        (6, 24, 2),
        (6, 32, 3),
        (6, 64, 4),
        (6, 96, 3),
        (6, 160, 3),
        (6, 320, 1),
    ]
    for i, (factor, width, depth) in enumerate(settings, 1):
        for j in range(depth):
            block, hidden = f"layer{i}.{j}.conv", width_in * factor
            shapes = [(hidden, width_in, 1, 1)] if factor > 1 else []
            shapes += [(hidden, 1, 3, 3), (width, hidden, 1, 1)]
            for k, shape in enumerate(shapes):
                found |= unit(f"{block}.{k}", *shape)
            width_in = width
    found |= unit("conv2", 1280, 320, 1, 1)
    return {f"backbone.{name}": s for name, s in found.items()} | affine("head.fc", CLASSES, 1280)


def pyramid(
    depths: tuple[int, ...], dims: tuple[int, ...], ratios: tuple[int, ...], version: int
) -> Shapes:
    """PVT (version 1), PVTv2 and MiT (version 2), which share their names."""
    found: Shapes = {}
    for i, (depth, dim, ratio) in enumerate(zip(depths, dims, ratios, strict=True)):
        side = (4, 2, 2, 2)[i] if version == 1 else (7, 3, 3, 3)[i]
        found |= affine(f"patch_embed{i + 1}.proj", dim, dims[i - 1] if i else 3, side, side)
        found |= affine(f"patch_embed{i + 1}.norm", dim)
        if version == 1:
            places = (56 // 2**i) ** 2 + (i == 3)  # the last with a place for the class token
            found[f"pos_embed{i + 1}"] = (1, places, dim)
        else:
            found |= affine(f"norm{i + 1}", dim)
        for j in range(depth):
            block, hidden, reduction = f"block{i + 1}.{j}", dim * ratio, 8 // 2**i
            found |= affine(f"{block}.norm1", dim) | affine(f"{block}.norm2", dim)
            found |= affine(f"{block}.attn.q", dim, dim) | affine(f"{block}.attn.kv", 2 * dim, dim)
            found |= affine(f"{block}.attn.proj", dim, dim)
            if reduction > 1:
                found |= affine(f"{block}.attn.sr", dim, dim, reduction, reduction)
                found |= affine(f"{block}.attn.norm", dim)
            found |= affine(f"{block}.mlp.fc1", hidden, dim)
            found |= affine(f"{block}.mlp.fc2", dim, hidden)
            if version == 2:
                found |= affine(f"{block}.mlp.dwconv.dwconv", hidden, 1, 3, 3)
    if version == 1:
        found |= affine("norm", dims[-1]) | {"cls_token": (1, 1, dims[-1])}
    return found | affine("head", CLASSES, dims[-1])


def swin(depths: tuple[int, ...], width: int) -> Shapes:
    found = affine("patch_embed.proj", width, 3, 4, 4) | affine("patch_embed.norm", width)
    for i, depth in enumerate(depths):
        dim = width * 2**i
        for j in range(depth):
            block = f"layers.{i}.blocks.{j}"
            found |= affine(f"{block}.norm1", dim) | affine(f"{block}.norm2", dim)
            found[f"{block}.attn.relative_position_bias_table"] = (13 * 13, dim // 32)
            found[f"{block}.attn.relative_position_index"] = (49, 49)
            found |= affine(f"{block}.attn.qkv", 3 * dim, dim)
            found |= affine(f"{block}.attn.proj", dim, dim)
            found |= affine(f"{block}.mlp.fc1", 4 * dim, dim)
            found |= affine(f"{block}.mlp.fc2", dim, 4 * dim)
            if j % 2 and i < 3:
                found[f"{block}.attn_mask"] = ((8 // 2**i) ** 2, 49, 49)
        if i < 3:
            found[f"layers.{i}.downsample.reduction.weight"] = (2 * dim, 4 * dim)
            found |= affine(f"layers.{i}.downsample.norm", 4 * dim)
    return found | affine("norm", 8 * width) | affine("head", CLASSES, 8 * width)


def numbered(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors that hold the number of their name, 1 and up; a file stores each as one element."""
    items = enumerate(shapes.items(), 1)
    return {name: torch.full((), float(n)).expand(shape) for n, (name, shape) in items}


def convert_mit(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What OpenMMLab's script makes of an official MiT file, which is what it publishes."""
    scripts = Path(mmseg.__file__).parent / ".mim/tools/model_converters"
    return runpy.run_path(str(scripts / "mit2mmseg.py"))["convert_mit"](state)


RATIOS = (8, 8, 4, 4)
OFFICIAL = {
    "resnet18": resnet((2, 2, 2, 2), bottleneck=False),
    "resnet50": resnet((3, 4, 6, 3), bottleneck=True),
    "mobilenetv2": mobilenetv2(),
    "pvt-t": pyramid((2, 2, 2, 2), PVT_DIMS, RATIOS, 1),
    "pvt-s": pyramid((3, 4, 6, 3), PVT_DIMS, RATIOS, 1),
    "pvtv2-b0": pyramid((2, 2, 2, 2), SMALL_DIMS, RATIOS, 2),
    "pvtv2-b1": pyramid((2, 2, 2, 2), PVT_DIMS, RATIOS, 2),
    "pvtv2-b2": pyramid((3, 4, 6, 3), PVT_DIMS, RATIOS, 2),
    "swin-t": swin((2, 2, 6, 2), 96),
    "mit-b0": pyramid((2, 2, 2, 2), SMALL_DIMS, (4, 4, 4, 4), 2),
    "mit-b1": pyramid((2, 2, 2, 2), PVT_DIMS, (4, 4, 4, 4), 2),
}
WRAPPERS = {"mobilenetv2": "state_dict", "swin-t": "model"}


def save_official(peer: str, path: Path) -> dict[str, Tensor]:
    """Writes a peer's file as published and returns its tensors under the names in it."""
    state = numbered(OFFICIAL[peer])
    if peer.startswith("mit"):
        state = convert_mit(state)
    wrapper = WRAPPERS.get(peer)
    torch.save({wrapper: state} if wrapper else state, path)
    return state
