"""The backbone against outputs and gradients of the official code (`data/casvit_tiny.npz`).

The official network of depths 1, 1, 2, 1 and dims 8, 12, 16, 24 was filled tensor by tensor with
numbers derived from the tensor's name, and run on standard normal images.
"""

import json
import re

import numpy as np
import pytest
import torch
from weight_files import DATA, TINY, filled, save_official_classification

from casvit_dense import CASViT, load_pretrained

GOLDEN = np.load(DATA / "casvit_tiny.npz")
SIZES = sorted({m[1] for m in (re.search(r"_(\d+x\d+)_mean", k) for k in GOLDEN.files) if m})


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    shapes = json.loads((DATA / "casvit_tiny_keys.json").read_text())["keys"]
    path = tmp_path_factory.mktemp("golden") / "tiny.pth"
    model = CASViT(TINY)
    load_pretrained(model, save_official_classification(path, model=filled(shapes)))
    return model.eval()


def run(backbone, size):
    height, width = map(int, size.split("x"))
    pixels = np.random.default_rng(0).normal(0, 1, (1, 3, height, width)).astype(np.float32)
    image = torch.from_numpy(pixels).requires_grad_()
    return image, backbone(image)


def assert_close(ours: np.ndarray, golden: np.ndarray) -> None:
    assert ours.shape == golden.shape
    error = np.abs(ours - golden).max() / np.abs(golden).max()
    assert error < 1e-4, f"relative error {error:.2e}"


def thinned(values: np.ndarray) -> np.ndarray:
    """About eight samples along each axis but the first."""
    return values[0][tuple(slice(None, None, max(1, n // 8)) for n in values.shape[1:])]


def test_the_golden_file_has_the_sizes_it_should():
    assert len(SIZES) >= 2
    assert any(f"gradx_{size}" in GOLDEN.files for size in SIZES)


@pytest.mark.parametrize("size", SIZES)
def test_maps(backbone, size):
    _, maps = run(backbone, size)
    for i, feature_map in enumerate(maps):
        values = feature_map.detach().numpy()
        assert_close(values.mean((0, 2, 3)), GOLDEN[f"out{i}_{size}_mean"])
        assert_close(np.abs(values).mean((0, 2, 3)), GOLDEN[f"out{i}_{size}_abs"])
        assert_close(thinned(values), GOLDEN[f"out{i}_{size}_grid"])


@pytest.mark.parametrize("size", [size for size in SIZES if f"gradx_{size}" in GOLDEN.files])
def test_gradients(backbone, size):
    image, maps = run(backbone, size)
    backbone.zero_grad()
    sum(feature_map.square().mean() for feature_map in maps).backward()
    assert_close(image.grad.numpy()[0, :, ::8, ::8], GOLDEN[f"gradx_{size}"])
    prefix = f"gradnorm_{size}/"
    golden = {k.removeprefix(prefix): v for k, v in GOLDEN.items() if k.startswith(prefix)}
    ours = {name: p.grad.norm().numpy() for name, p in backbone.named_parameters()}
    assert ours.keys() == golden.keys()
    assert_close(
        np.array([ours[name] for name in golden]), np.array([golden[name] for name in golden])
    )
