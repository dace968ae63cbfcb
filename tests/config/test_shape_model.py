"""Models that are built for their shapes alone."""

from copy import deepcopy
from pathlib import Path

import pytest
from mmengine.registry import MODELS

from casvit_dense.config.resolve import resolve
from casvit_dense.config.shapes import shape_model
from casvit_dense.options import RunOptions

PEERS = Path(__file__).parents[2] / "configs/peers"


@pytest.mark.parametrize("peer", ["pvtv2-b0", "swin-t"])  # which read rates out of tensors
def test_names_and_shapes_are_those_of_the_model(peer: str) -> None:
    cfg = resolve(PEERS / f"fpn_{peer}_8xb4-40k_ade20k-512x512.py", RunOptions()).config
    shapes = {name: t.shape for name, t in shape_model(cfg).state_dict().items()}
    model = MODELS.build(deepcopy(cfg.model))
    assert shapes == {name: tensor.shape for name, tensor in model.state_dict().items()}
